"""
Where lies what must outlive restarts: key sets, API keys.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from suuupra_gateway.config.model import ApiKeysSpec, ProcessSpec

_TRUSTED: Final = frozenset({0})
"""Users whose directories are as good as our own."""


def state_directory(gateway: ProcessSpec, environ: Mapping[str, str] = os.environ) -> Path | None:
    """
    ``gateway.state-dir``, else what systemd made (``StateDirectory=``), else None. It is made, for its owner only.

    :raises OSError: it cannot be made, or others can write there: what they write would be believed.
    """
    path = place(gateway, environ)
    if path is not None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
        if found.st_uid not in {os.geteuid(), *_TRUSTED} or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(f"others can write to {path}")
    return path


def place(gateway: ProcessSpec, environ: Mapping[str, str] = os.environ) -> Path | None:
    """As `state_directory`, and nothing is made."""
    # systemd separates several with colons
    named = gateway.state_dir or environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(named) if named else None


def keys_file(keys: ApiKeysSpec, gateway: ProcessSpec, environ: Mapping[str, str] = os.environ) -> str:
    """Where records of API keys lie when there is no store; empty if nowhere."""
    if keys.file:
        return keys.file
    directory = place(gateway, environ)
    return str(directory / "api-keys.sqlite") if directory is not None else ""
