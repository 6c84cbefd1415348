"""
What checks share.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from suuupra_gateway.config.findings import Finding
from suuupra_gateway.config.parts import growing, long_enough, readable, unknown
from suuupra_gateway.config.units import Duration, Secret
from tests.config.files import write


def test_what_is_unknown_is_told_with_what_is_alike_or_all_there_is() -> None:
    assert unknown(("a",), "route", "usr", ["users"]) == Finding(("a",), "there is no route usr", "did you mean users?")
    assert unknown(("a",), "route", "x", iter(["b", "c"])).hint == "routes: b, c"
    assert unknown(("a",), "entry", "x", ["b"], "entries").hint == "entries: b"


def test_pauses_grow() -> None:
    assert not list(growing(("a",), (Duration(1.0), Duration(1.0))))
    (found,) = growing(("a",), (Duration(2.0), Duration(1.0)))
    assert found.why == "the first pause (2s) is longer than the longest (1s)"


def test_a_secret_of_32_characters_will_do_and_none_is_shown() -> None:
    assert not list(long_enough((), Secret("x" * 32), "a pepper"))
    (found,) = long_enough(("a",), Secret("hush" * 7), "a pepper")
    assert found.why == "a pepper has at least 32 characters"
    assert "hush" not in str(found)


def test_a_file_is_there(tmp_path: Path) -> None:
    assert not list(readable((), write(tmp_path, "", "ca.pem")))
    assert list(readable(("a",), "/no/such")) == [Finding(("a",), "there is no file /no/such")]


def test_a_file_without_permission_is_told() -> None:
    """Seen by somebody whom permissions concern: root may read everything."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        path = Path(write(Path(directory), "", "ca.pem"))
        path.chmod(0)
        user = os.geteuid()
        os.seteuid(user or 65534)
        try:
            found = list(readable(("a",), str(path)))
        finally:
            os.seteuid(user)
    assert found == [Finding(("a",), f"cannot read {path}", "check its permissions")]
