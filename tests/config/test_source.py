"""
From files to one tree.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from suuupra_gateway.config.findings import ConfigErrors, Loc
from suuupra_gateway.config.source import LONGEST_FILE, LONGEST_SECRET, SOURCE, Document, load
from tests.config.files import read, write


def written(document: Document) -> dict[str, object]:
    """The tree without what the source adds."""
    return {key: value for key, value in document.tree.items() if key != SOURCE}


def wrong(directory: Path, document: Document) -> list[str]:
    """What is wrong with a document that can be used all the same."""
    return [str(error).replace(f"{directory}/", "") for error in document.errors]


def broken(directory: Path, text: str) -> list[str]:
    """Why a file cannot be loaded."""
    with pytest.raises(ConfigErrors) as caught:
        read(directory, text)
    return str(caught.value).replace(f"{directory}/", "").split("\n")


def place(directory: Path, document: Document, loc: Loc, *, key: bool = False) -> str:
    """Where something stands."""
    return str(document.locate(loc, key=key)).replace(f"{directory}/", "")


def test_values_keys_and_missing_things_have_places(tmp_path: Path) -> None:
    document = read(tmp_path, "gateway:\n  name: x\nroutes:\n  - {a: [1, 2]}\n")
    assert place(tmp_path, document, ("gateway", "name")) == "gateway.yaml:2:9"
    assert place(tmp_path, document, ("gateway", "name"), key=True) == "gateway.yaml:2:3"
    assert place(tmp_path, document, ("routes", 0, "a", 1)) == "gateway.yaml:4:13"
    assert place(tmp_path, document, ("routes", 0, "a", 1), key=True) == "gateway.yaml:4:13"
    assert place(tmp_path, document, ("routes", 0, "b", "c")) == "gateway.yaml:4:5"
    assert place(tmp_path, document, ("gateway", "name", "x")) == "gateway.yaml:2:9"
    assert place(tmp_path, document, ("nothing",)) == "gateway.yaml:1:1"
    assert place(tmp_path, document, ()) == "gateway.yaml:1:1"


def test_a_tree_from_json_has_no_places() -> None:
    document = Document.from_tree({"routes": []})
    assert str(document.locate(("routes",))) == ""
    assert (document.files, document.errors, document.base, document.secrets) == ((), (), "", {})
    assert document.written(("routes",)) is None
    assert document.written(()) is None


def test_an_empty_file_is_an_empty_document(tmp_path: Path) -> None:
    document = read(tmp_path, "# nothing\n")
    assert written(document) == {}
    assert place(tmp_path, document, ("routes",)) == ""


def test_sections_without_a_value_and_extensions_are_as_good_as_absent(tmp_path: Path) -> None:
    assert written(read(tmp_path, "routes:\nx-all: &a {b: 1}\ngateway: *a\ninclude:\n")) == {"gateway": {"b": 1}}


def test_texts_from_the_environment_are_known_as_such(tmp_path: Path) -> None:
    document = read(tmp_path, "gateway: {name: '${N}', drain: 5s}\nlist: ['${N}']\nplain: ${N}\n", {"N": "x"})
    assert document.tree["gateway"] == {"name": "x", "drain": "5s"}
    assert document.written(("gateway", "name")) == "${N}"
    assert document.written(("gateway", "drain")) is None
    assert document.written(("list", 0)) == "${N}"
    assert document.written(("plain",)) == "${N}"
    assert document.written(("list", 7, "x")) is None
    assert document.written(("no", "such")) is None
    assert document.written(("gateway", "name", "deeper")) is None


def test_the_environment_is_that_of_the_process_unless_given(tmp_path: Path) -> None:
    path = write(tmp_path, "gateway: {run-dir: '${PATH}'}")
    assert load(path).tree["gateway"] == {"run-dir": os.environ["PATH"]}
    assert load(Path(path), environ={"PATH": "/"}).tree["gateway"] == {"run-dir": "/"}


def test_what_is_wrong_but_readable_is_kept_for_decode(tmp_path: Path) -> None:
    document = read(tmp_path, "gateway: {name: '${N}'}\ngateway: {}\n$source: {}\n")
    assert [error.split(", ")[0] for error in wrong(tmp_path, document)] == [
        "gateway.yaml:1:17: gateway.name: the environment variable N is not set",
        "gateway.yaml:2:1: gateway: this key is set twice",
        "gateway.yaml:3:1: $source: this key is not for files",
    ]


@pytest.mark.parametrize("text", ["[]", "text", "1"])
def test_a_file_is_a_mapping(tmp_path: Path, text: str) -> None:
    assert broken(tmp_path, text) == ["gateway.yaml:1:1: expected sections such as listeners, upstreams and routes"]


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match=r"none\.yaml: cannot read .*none\.yaml: No such file or directory$"):
        load(tmp_path / "none.yaml")
    with pytest.raises(ConfigErrors, match="Is a directory"):
        load(tmp_path)
    (tmp_path / "big.yaml").write_bytes(b"#" * (LONGEST_FILE + 1))
    with pytest.raises(ConfigErrors, match=r"it has more than 16,777,216 bytes$"):
        load(tmp_path / "big.yaml")


def test_all_broken_files_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, "a: [", "conf.d/a.yaml")
    write(tmp_path, "b: 1\nb: 2\n", "conf.d/b.yaml")
    write(tmp_path, "c: {", "conf.d/c.yaml")
    found = broken(tmp_path, "include: [conf.d/*.yaml, none.yaml]")
    assert [line.split(": ")[0] for line in found] == [
        "conf.d/a.yaml:2:1",
        "conf.d/b.yaml:2:1",
        "conf.d/c.yaml:2:1",
        "gateway.yaml:1:26",
    ]


# -- includes -----------------------------------------------------------------------------------------------------------


def test_lists_and_mappings_of_included_files_are_joined(tmp_path: Path) -> None:
    write(tmp_path, "routes: [{name: b}]\nupstreams: {two: {}}\ngateway: {drain: 5s}\n", "conf.d/b.yaml")
    write(tmp_path, "routes: [{name: a}, '${N}']\nupstreams: {one: '${N}'}\nadmin: {address: off}\n", "conf.d/a.yaml")
    text = "include: conf.d/*.yaml\nroutes: [{name: main}]\ngateway: {name: x}\nupstreams: {zero: {}}\n"
    document = read(tmp_path, text, {"N": "n"})
    assert written(document) == {
        "routes": [{"name": "main"}, {"name": "a"}, "n", {"name": "b"}],
        "gateway": {"name": "x", "drain": "5s"},
        "upstreams": {"zero": {}, "one": "n", "two": {}},
        "admin": {"address": "off"},
    }
    assert place(tmp_path, document, ("routes", 0, "name")) == "gateway.yaml:2:17"
    assert place(tmp_path, document, ("routes", 1, "name")) == "conf.d/a.yaml:1:17"
    assert place(tmp_path, document, ("routes", 3, "name")) == "conf.d/b.yaml:1:17"
    assert place(tmp_path, document, ("upstreams", "two"), key=True) == "conf.d/b.yaml:2:13"
    assert place(tmp_path, document, ("gateway", "drain")) == "conf.d/b.yaml:3:18"
    assert (document.written(("routes", 2)), document.written(("upstreams", "one"))) == ("${N}", "${N}")
    assert document.files == tuple(str(tmp_path / name) for name in ("gateway.yaml", "conf.d/a.yaml", "conf.d/b.yaml"))


def test_included_files_include_relative_to_themselves(tmp_path: Path) -> None:
    write(tmp_path, "include: more/c.yaml\n", "conf.d/b.yaml")
    write(tmp_path, "routes: [{name: c}]\n", "conf.d/more/c.yaml")
    assert written(read(tmp_path, "include: [conf.d/b.yaml]")) == {"routes": [{"name": "c"}]}


def test_a_pattern_may_match_nothing_and_skips_what_is_there_already(tmp_path: Path) -> None:
    write(tmp_path, "routes: [{name: a}]\n", "a.yaml")
    document = read(tmp_path, "include: ['*.yaml', '*.yaml', 'none/*.yaml', '**/*.yml']\n")
    assert written(document) == {"routes": [{"name": "a"}]}
    assert document.errors == ()


def test_a_directory_with_the_signs_of_a_pattern_is_no_pattern(tmp_path: Path) -> None:
    directory = tmp_path / "[a]*"
    write(directory, "routes: [{name: a}]\n", "b1.yaml")
    assert written(read(directory, "include: 'b?.yaml'\n")) == {"routes": [{"name": "a"}]}


def test_a_file_is_included_once(tmp_path: Path) -> None:
    write(tmp_path, "include: gateway.yaml\n", "a.yaml")
    assert wrong(tmp_path, read(tmp_path, "include: [a.yaml, a.yaml, 7, '']\n")) == [
        "a.yaml:1:10: include: gateway.yaml is included already",
        "gateway.yaml:1:19: include: a.yaml is included already",
        "gateway.yaml:1:27: include: expected the name of a file, or a pattern",
        "gateway.yaml:1:30: include: expected the name of a file, or a pattern",
    ]


def test_what_is_set_in_two_files_is_told_with_both_places(tmp_path: Path) -> None:
    write(tmp_path, "upstreams:\n  users: {}\nroutes: {}\n", "a.yaml")
    document = read(tmp_path, "include: a.yaml\nupstreams: {users: {endpoints: []}}\nroutes: []\n")
    assert wrong(tmp_path, document) == [
        "a.yaml:2:3: upstreams.users: this is set twice, first at gateway.yaml:2:13",
        "a.yaml:3:1: routes: this section cannot be joined with the one at gateway.yaml:3:1",
    ]
    assert document.tree["upstreams"] == {"users": {"endpoints": []}}


def test_pipes_are_not_included(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    assert broken(tmp_path, "include: pipe.yaml") == ["gateway.yaml:1:10: cannot read pipe.yaml: it is no regular file"]


def test_the_main_file_may_be_a_pipe() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"gateway: {name: x}\n")
    os.close(writing)
    try:
        assert written(load(f"/dev/fd/{reading}", environ={})) == {"gateway": {"name": "x"}}
    finally:
        os.close(reading)


def test_plugins_are_found_beside_the_main_file(tmp_path: Path) -> None:
    write(tmp_path, "plugins: [b.py]\n", "conf.d/b.yaml")
    document = read(tmp_path, "include: conf.d/b.yaml\nplugins: [a.py, /c.py, 7]\n")
    assert document.tree["plugins"] == [f"{tmp_path}/a.py", "/c.py", 7, f"{tmp_path}/b.py"]
    assert place(tmp_path, document, ("plugins", 3)) == "conf.d/b.yaml:1:11"


# -- secrets ------------------------------------------------------------------------------------------------------------


def test_secrets_are_read_and_their_paths_made_absolute(tmp_path: Path) -> None:
    write(tmp_path, "hush\r\n", "key")
    write(tmp_path, "more\n\n", "credentials/token")
    document = read(
        tmp_path,
        "a: {file: key}\nb: {credential: token}\nc: {file: key}\n",
        {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")},
    )
    assert document.secrets == {f"file:{tmp_path}/key": "hush", "credential:token": "more\n"}
    assert document.tree["a"] == document.tree["c"] == {"file": f"{tmp_path}/key"}
    assert document.unread == {}


def test_what_only_looks_like_a_secret_is_no_error(tmp_path: Path) -> None:
    document = read(tmp_path, "a: {file: [x]}\nb: {file: none, c: d}\nd: {credential: x}\ne: {file: none}\n")
    assert document.errors == ()
    assert document.secrets == {}
    assert set(document.unread) == {"credential:x", f"file:{tmp_path}/none"}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd"])
def test_credentials_do_not_leave_their_directory(tmp_path: Path, name: str) -> None:
    document = read(tmp_path, f"a: {{credential: '{name}'}}\n", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert document.secrets == {}
    assert "expected the name of a systemd credential" in document.unread[f"credential:{name}"]


def test_why_a_secret_cannot_be_read_is_kept(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "big").write_bytes(b"x" * (LONGEST_SECRET + 1))
    document = read(tmp_path, "a: [{file: binary}, {file: big}, {file: none}, {file: .}]\n")
    whys = [document.unread[f"file:{tmp_path}/{name}"] for name in ("binary", "big", "none", ".")]
    assert [why.replace(f"{tmp_path}/", "") for why in whys] == [
        "the secret in binary is not UTF-8",
        "cannot read big: it has more than 65,536 bytes",
        "cannot read none: No such file or directory",
        "cannot read .: it is no regular file",
    ]


# -- what workers get -----------------------------------------------------------------------------------------------------


def test_a_tree_survives_json(tmp_path: Path) -> None:
    write(tmp_path, "hush", "key")
    document = read(tmp_path, "a: &a {file: key}\nb: [*a, *a, 1.5, no, null]\n")
    again = Document.from_tree(json.loads(json.dumps(document.tree)))
    assert again.tree == document.tree
    assert again.secrets == document.secrets
    assert again.base == str(tmp_path)
    assert again.digest == document.digest == document.digest


def test_the_digest_tells_configurations_apart_but_not_directories(tmp_path: Path) -> None:
    def digest(directory: Path, text: str, secret: str) -> str:
        write(directory, secret, "key")
        return read(directory, text, {"CREDENTIALS_DIRECTORY": str(directory)}).digest

    text = "a: {credential: key}\n"
    first = digest(tmp_path / "a", text, "one")
    assert len(first) == 16
    assert digest(tmp_path / "b", text, "one") == first
    assert digest(tmp_path / "b", f"# comment\n{text}", "one") == first
    assert digest(tmp_path / "b", text, "two") != first
    assert digest(tmp_path / "b", f"{text}b: 1\n", "one") != first
