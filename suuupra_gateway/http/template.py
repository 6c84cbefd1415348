"""
Text with placeholders that are filled from a request's head: rewritten paths, query values, redirect targets.
"""

from __future__ import annotations

import re
from typing import Final

from suuupra_gateway.http.message import RequestHead

_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]*)\}")

# RFC 3986 section 2: what may stand in a URI reference as it is; control bytes, spaces and quotes may not.
_LITERAL: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?#\[\]-]|%[0-9A-Fa-f]{2})*")

_OWN: Final = frozenset({"path", "query", "host"})


class Template:
    """
    Immutable text such as ``/v2/users/{id}``.

    ``{name}`` is a parameter of the route, inserted percent-encoded as it came; ``{path}``, ``{query}`` (without its ``?``)
    and ``{host}`` (without a port) are those of the request, unless the route has a parameter of that name.
    """

    __slots__ = ("text", "parameters", "_parts")

    text: str
    """As it was configured."""

    parameters: frozenset[str]
    """Names that only the route can give."""

    def __init__(self, text: str) -> None:
        """:raises ValueError: for braces that enclose no name, and bytes that no URI may hold."""
        parts: list[bytes | str] = []
        for index, part in enumerate(_PLACEHOLDER.split(text)):
            if index % 2:
                parts.append(part)
            elif part:
                if not _LITERAL.fullmatch(part):
                    raise ValueError(
                        f"{text!r} holds what may not stand in a URI: write such characters as %XX, "
                        "placeholders as {name}"
                    )
                parts.append(part.encode("ascii"))
        self.text = text
        self.parameters = frozenset(part for part in parts if type(part) is str) - _OWN
        self._parts = tuple(parts)

    def fill(self, head: RequestHead) -> bytes:
        """The text for ``head``; a parameter that it lacks is empty."""
        return b"".join([part if type(part) is bytes else _value(part, head) for part in self._parts])  # type: ignore[arg-type]  # else a str

    def __repr__(self) -> str:
        return f"<Template {self.text}>"


def _value(name: str, head: RequestHead) -> bytes:
    if head.params is not None:
        value = head.params.get(name)
        if value is not None:
            return value
    if name == "path":
        return head.path
    if name == "query":
        return head.query or b""
    if name == "host":
        return head.host
    return b""
