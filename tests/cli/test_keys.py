"""``suuupra-gateway keys``: what it says, where, and with which status it ends. With real stores in `tests.live.test_keys`."""

import io
import json
import re
import sys

import pytest

from suuupra_gateway import cli
from suuupra_gateway.auth import apikey
from suuupra_gateway.auth.issuing import NoSuchKey, NotPossible
from suuupra_gateway.auth.keyorder import BadOrder
from suuupra_gateway.commands.console import Console
from tests.auth.test_issuing import Office, done

DAY = 86400.0


class Terminal:
    """Somebody at the command line, and the keys behind it."""

    def __init__(self, **more):
        self.office = Office(**more)
        self.out = self.error = ""

    def run(self, *words, config="gateway.yaml"):
        """The status of ``suuupra-gateway keys WORDS``."""
        action, *rest = words
        options = cli.parser().parse_args(["keys", action, "--config", config, "--as", "me", *rest])
        out, error = io.StringIO(), io.StringIO()
        console = Console(out, error)
        try:
            return done(options.act(self.office.issuing, options, console, None))
        finally:
            self.out, self.error = out.getvalue(), error.getvalue()

    def json(self, *words):
        self.status = self.run(*words, "--json")
        assert self.error == ""
        return json.loads(self.out)

    def create(self, *words):
        assert self.run("create", "--owner", "ann", *words) == 0
        return self.out.strip()


def id_of(key):
    return key.split("_")[2]


@pytest.fixture
def terminal():
    return Terminal()


@pytest.fixture
def pipe(monkeypatch):
    """Make something standard input."""

    def make(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return make


def rows(text):
    header, *lines = [re.split(r"  +", line) for line in text.splitlines()]
    return [dict(zip(header, line, strict=False)) for line in lines]


# -- create -----------------------------------------------------------------------------------------------------------


def test_the_key_alone_is_on_standard_output(terminal):
    assert terminal.run("create", "--owner", "ann") == 0
    key = apikey.parse(terminal.out.strip().encode())
    assert key is not None
    assert terminal.out == f"{key.text.decode()}\n"
    assert f"Key {key.id} of ann, good for ever." in terminal.error
    assert "shown this once" in terminal.error


def test_everything_that_a_key_can_be_can_be_said(terminal):
    key = terminal.create(
        *("--name", "nightly", "--scope", "a", "--scope", "b", "--role", "r", "--tenant", "acme", "--route", "users"),
        *("--cidr", "10.0.0.0/8", "--cidr", "192.0.2.1", "--expires", "90d", "--not-before", "1h", "--tier", "gold"),
        *("--limit", "x=5/min", "--note", "ticket=OPS=7"),
    )
    record = terminal.office.record(id_of(key))
    now = terminal.office.time.wall()
    assert (record.name, record.scopes, record.roles, record.tenant) == ("nightly", ("a", "b"), ("r",), "acme")
    assert (record.routes, record.cidrs) == (("users",), ("10.0.0.0/8", "192.0.2.1/32"))
    assert (record.expires_at, record.not_before) == (now + 90 * DAY, now + 3600)
    assert (record.tier, record.limits, record.notes) == ("gold", {"x": "5/min"}, {"ticket": "OPS=7"})
    assert record.created_by == "me"
    assert "good from 2023-11-14 23:13:20Z until 2024-02-12 22:13:20Z" in terminal.error


def test_programs_get_the_record_and_the_key(terminal):
    created = terminal.json("create", "--owner", "ann", "--scope", "a")
    assert created["id"] == id_of(created["key"])
    assert (created["owner"], created["scopes"], created["state"]) == ("ann", ["a"], "active")
    assert not {"hash", "pepper"} & set(created)


def test_what_makes_no_sense_is_said_all_at_once():
    with pytest.raises(BadOrder, match="'a b' is no scope; there is no route 'uesrs'"):
        Terminal(routes={"users"}).run("create", "--owner", "ann", "--scope", "a b", "--route", "uesrs")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["create"], "--owner"),
        (["create", "--owner", "a", "--expires", "soon"], "--expires"),
        (["create", "--owner", "a", "--cidr", "10.0.0.1/8"], "is no address range"),
        (["create", "--owner", "a", "--limit", "x"], "is no NAME=VALUE"),
        (["create", "--owner", "a", "--note", "=x"], "is no NAME=VALUE"),
        (["show", "x"], "is no id of a key"),
        (["revoke"], "ID"),
        (["rotate", "a" * 12, "--overlap", "x"], "--overlap"),
        (["audit", "--limit", "0"], "is no number"),
        (["audit", "--limit", "x"], "is no number"),
        (["revoke", "a" * 12, "--as", "\x1b[31m"], "visible characters"),
        (["remove"], "invalid choice"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_the_reason(words, said, capsys):
    action, *rest = words
    with pytest.raises(SystemExit) as ended:
        cli.parser().parse_args(["keys", action, "--config", "x", *rest])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("action", ["create", "list", "show", "rotate", "revoke", "check", "audit"])
def test_every_action_explains_itself(action, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.parser().parse_args(["keys", action, "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "--config" in told
    assert "exit status" in told


# -- list and show ----------------------------------------------------------------------------------------------------


def test_good_keys_are_listed_and_others_on_demand(terminal):
    assert terminal.run("list") == 0
    assert terminal.out.startswith("no keys that are good")
    good = id_of(terminal.create("--name", "nightly reports", "--scope", "a", "--scope", "b"))
    gone = id_of(terminal.create())
    terminal.run("revoke", gone)
    terminal.office.store.touch(good, terminal.office.time.wall() - 7300, "", "")

    terminal.run("list")
    (row,) = rows(terminal.out)
    assert row == {
        "ID": good,
        "OWNER": "ann",
        "NAME": "nightly reports",
        "STATE": "active",
        "ENDS": "never",
        "LAST USED": "2 h ago",
        "SCOPES": "a b",
    }
    terminal.run("list", "--all")
    assert {row["ID"] for row in rows(terminal.out)} == {good, gone}
    assert [entry["id"] for entry in terminal.json("list")] == [good]
    assert [entry["state"] for entry in terminal.json("list", "--all", "--owner", "ann")].count("revoked") == 1
    assert terminal.json("list", "--owner", "eve") == []
    terminal.run("list", "--all", "--owner", "eve")
    assert terminal.out == "no keys\n"


def test_a_key_is_shown_with_all_that_is_known_of_it(terminal):
    key = terminal.create(
        "--scope", "a", "--expires", "2d", "--limit", "x=1", "--note", "ticket=7", "--not-before", "1s"
    )
    id = id_of(key)
    terminal.office.time.advance(100)
    terminal.run("rotate", id, "--overlap", "1h")
    terminal.office.store.touch(id, terminal.office.time.wall(), "192.0.2.1", "curl/8")
    terminal.office.time.advance(120)

    assert terminal.run("show", id) == 0
    for line in (
        r"id +" + id,
        r"state +active",
        r"scopes +a",
        r"routes +all",
        r"addresses +all",
        r"limits +x=1",
        r"made +2023-11-14 22:13:20Z by me",
        r"good from +2023-11-14 22:13:21Z",
        r"ends +2023-11-14 23:15:00Z",
        r"replaced by +\w{12}",
        r"last used +2 min ago",
        r"ticket +7",
        r"192\.0\.2\.1  curl/8  2023-11-14 22:15:00Z  2 min ago",
    ):
        assert re.search(f"^{line}$", terminal.out, re.MULTILINE), (line, terminal.out)
    assert "tenant" not in terminal.out
    assert key not in terminal.out

    terminal.run("revoke", id, "--why", "leaked")
    terminal.run("show", key)  # whoever has only the key in hand
    assert re.search("^revoked +2023-11-14 22:17:00Z by me: leaked$", terminal.out, re.MULTILINE)
    shown = terminal.json("show", id)
    assert (shown["revoked_why"], shown["usage"][0]["agent"]) == ("leaked", "curl/8")


def test_what_is_not_there_is_not_shown(terminal):
    with pytest.raises(NoSuchKey):
        terminal.run("show", "a" * 12)


# -- rotate and revoke ------------------------------------------------------------------------------------------------


def test_a_replacement_is_shown_once_with_what_to_do_next(terminal):
    id = id_of(terminal.create())
    assert terminal.run("rotate", id, "--overlap", "2h") == 0
    assert apikey.parse(terminal.out.strip().encode()) is not None
    assert f"Key {id} goes on to work until 2023-11-15 00:13:20Z." in terminal.error
    assert f"suuupra-gateway keys show --config gateway.yaml {id}" in terminal.error
    with pytest.raises(NotPossible):
        terminal.run("rotate", id)
    new = terminal.json("rotate", id_of(terminal.create()))
    assert new["rotated_from"]
    assert new["key"]


def test_a_key_is_revoked_and_programs_are_told_too(terminal):
    id = id_of(terminal.create())
    assert terminal.run("revoke", id) == 0
    assert terminal.out == f"Key {id} of ann is revoked.\n"
    assert terminal.json("revoke", id)["state"] == "revoked"


# -- check ------------------------------------------------------------------------------------------------------------


def test_keys_in_what_is_read_are_found_and_the_status_says_whether_one_is_good(terminal, pipe):
    good, strange = terminal.create(), apikey.make("live")
    pipe(f"export A={good}\nexport B={strange.text.decode()}\n".encode())
    assert terminal.run("check") == 1
    assert rows(terminal.out) == [
        {"KEY": f"sgk_live_{id_of(good)[:4]}…", "ID": id_of(good), "STATE": "active", "OWNER": "ann"},
        {"KEY": strange.masked, "ID": strange.id, "STATE": "not ours", "OWNER": "not ours"},
    ]
    assert good not in terminal.out
    pipe(strange.text)
    assert terminal.run("check", "--stdin") == 0
    pipe(b"nothing")
    assert terminal.run("check") == 0
    assert terminal.out == "no keys found\n"


def test_what_is_found_can_be_revoked_at_once(terminal, pipe):
    good, gone, strange = terminal.create(), terminal.create(), apikey.make("live").text.decode()
    terminal.run("revoke", id_of(gone), "--why", "before")
    pipe(f"{good} {gone} {strange}".encode())
    found = terminal.json("check", "--revoke")
    assert terminal.status == 0
    assert [each["state"] for each in found] == ["revoked", "revoked", None]
    assert terminal.office.record(id_of(good)).revoked_why == "found by keys check"
    assert terminal.office.record(id_of(gone)).revoked_why == "before"


def test_keys_are_found_across_the_pieces_of_a_long_input(terminal, pipe):
    keys = [terminal.create() for _ in range(3)]
    piece = 1024 * 1024
    content = bytearray(b"x" * 3 * piece)
    for key, place in zip(keys, (0, piece - 40, 2 * piece - 1), strict=True):
        content[place : place + len(key)] = key.encode()
    pipe(bytes(content))
    assert {each["id"] for each in terminal.json("check")} == {id_of(key) for key in keys}


# -- audit ------------------------------------------------------------------------------------------------------------


def test_an_audit_ends_with_1_if_there_is_something_to_look_at(terminal):
    assert terminal.run("audit") == 0
    assert terminal.out == "nothing to look at\n"
    id = id_of(terminal.create())
    assert terminal.run("audit") == 1
    assert rows(terminal.out) == [{"KEY": id, "OWNER": "ann", "FLAW": "never-ends", "WHY": "has no end"}]
    assert terminal.json("audit") == [{"id": id, "owner": "ann", "flaw": "never-ends", "why": "has no end"}]


def test_what_was_done_is_shown_the_latest_first(terminal):
    id = id_of(terminal.create())
    terminal.run("revoke", id, "--why", "leaked")
    assert terminal.run("audit", "--log") == 0
    assert [(row["WHO"], row["WHAT"], row["KEY"], row["DETAIL"]) for row in rows(terminal.out)] == [
        ("me", "revoke", id, "leaked"),
        ("me", "create", id, "for ann"),
    ]
    assert len(terminal.json("audit", "--log", "--limit", "1")) == 1


# -- the whole command ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listeners: {", ""),
        ("listeners: [{name: public, address: 127.0.0.1:0}]", "there are no API keys here: add api-keys"),
        (
            "listeners: [{name: public, address: 127.0.0.1:0}]\nidentity: {api-keys: {peppers: [" + "p" * 32 + "]}}",
            "there is nowhere to keep API keys, add gateway.store",
        ),
    ],
)
def test_a_configuration_without_keys_is_refused_with_the_reason(tmp_path, capsys, text, said, monkeypatch):
    file = tmp_path / "gateway.yaml"
    file.write_text(text)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert cli.main(["keys", "list", "--config", str(file)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert str(file) in told.err
    assert said in told.err
