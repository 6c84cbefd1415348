"""
The effective configuration: what was written and every default, with secrets masked.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from suuupra_gateway.config.findings import Loc
from suuupra_gateway.config.model import GatewayConfig
from suuupra_gateway.config.scalars import FLOAT, INTEGER
from suuupra_gateway.config.source import Document
from suuupra_gateway.config.units import MASK


def dump(config: GatewayConfig, document: Document | None = None) -> dict[str, Any]:
    """
    As plain values with the keys of files. What is left out (None) stays left out; a secret is `units.MASK`.

    :param document: what ``config`` was decoded from. With it, texts that came from the environment are shown as they are
        written (``Bearer ${TOKEN}``), since they may be secrets too.
    """
    plain = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    return plain if document is None else _as_written(plain, (), document)


def dump_yaml(config: GatewayConfig, document: Document | None = None) -> str:
    """
    As a file that could be loaded again, but for its secrets.

    Texts that a reader of YAML 1.1 or 1.2 could take for something else are quoted, and ``${`` is escaped.

    :param document: as for `dump`.
    """
    plain = _as_written(dump(config), (), document, escaped=True)
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=False)


class _Dumper(yaml.SafeDumper):
    """Knows the numbers of YAML 1.2 beside those of 1.1, writes short lists in one line, and never uses anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_list(self, data: Any) -> yaml.SequenceNode:
        short = all(isinstance(one, (str, int, float)) for one in data)
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=short)

    def represent_text(self, data: str) -> yaml.ScalarNode:
        odd = any(char in data for char in "\x85\u2028\u2029\ufeff")  # line breaks to some: the emitter loses them
        return self.represent_scalar("tag:yaml.org,2002:str", data, style='"' if odd else None)


_Dumper.add_representer(str, _Dumper.represent_text)
_Dumper.add_representer(list, _Dumper.represent_list)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(rf"(?:{INTEGER.pattern})\Z"), list("-+0123456789"))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(rf"(?:{FLOAT.pattern})\Z"), list("-+.0123456789"))


def _as_written(value: Any, loc: Loc, document: Document | None, *, escaped: bool = False) -> Any:
    """A copy with what came from the environment as it is written, and with everything else escaped if that is wanted."""
    if isinstance(value, list):
        return [_as_written(one, (*loc, index), document, escaped=escaped) for index, one in enumerate(value)]
    if isinstance(value, dict):
        return {key: _as_written(one, (*loc, key), document, escaped=escaped) for key, one in value.items()}
    if not isinstance(value, str) or value == MASK:
        return value
    written = document.written(loc) if document is not None else None
    if written is not None:
        return written
    return value.replace("${", "$${") if escaped else value
