"""
Configuration files for the tests of `config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from suuupra_gateway.config.decode import ConfigErrors, Kinds, decode
from suuupra_gateway.config.model import GatewayConfig, Spec
from suuupra_gateway.config.source import Document, load

LISTENER = "listeners: [{name: public, address: 127.0.0.1:0}]\n"

SOUND = """\
listeners:
  - {name: public, address: 127.0.0.1:0}
upstreams:
  users: {endpoints: ["http://10.0.0.5:9001"]}
routes:
  - name: users
    match: {prefix: /users}
    auth: none
    target: {proxy: {upstream: users}}
"""


def write(directory: Path, text: str, name: str = "gateway.yaml") -> str:
    """Write a file; its path."""
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text), encoding="utf-8")
    return str(path)


def read(directory: Path, text: str, environ: Mapping[str, str] | None = None) -> Document:
    """The document of a file with this text."""
    return load(write(directory, text), environ=environ or {})


def decoded(
    directory: Path, text: str, kinds: Kinds | None = None, environ: Mapping[str, str] | None = None
) -> GatewayConfig:
    """The configuration of a file with this text."""
    nothing: dict[str, type[Spec]] = {}
    return decode(read(directory, text, environ), kinds or nothing)


def refused(
    directory: Path, text: str, kinds: Kinds | None = None, environ: Mapping[str, str] | None = None
) -> list[str]:
    """What is wrong with a file with this text, each without the directory in front."""
    try:
        decoded(directory, text, kinds, environ)
    except ConfigErrors as errors:
        return [str(error).replace(f"{directory}/", "") for error in errors.errors]
    raise AssertionError("nothing is wrong with it")
