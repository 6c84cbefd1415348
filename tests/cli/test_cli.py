"""The command: what it says, where it says it, and with which status it ends. Run in this process and as a real one."""

import ast
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import suuupra_gateway
from suuupra_gateway import cli
from suuupra_gateway.commands.console import Console

ROOT = Path(__file__).parents[2]

GOOD = """\
listeners:
  - {name: public, address: "127.0.0.1:8080"}
upstreams:
  users: {endpoints: ["http://127.0.0.1:9001"]}
  next: {endpoints: ["http://127.0.0.1:9002", {url: "http://127.0.0.1:9003", weight: 0}]}
routes:
  - name: users
    match: {host: api.example.org, path: "/v1/users/{id}", methods: [GET, PUT], headers: {X-A: "*"}, query: {q: "1"}}
    auth: none
    filters:
      - rewrite: {path: "/users/{id}"}
      - access: {deny: [10.0.0.0/8]}
    target: {proxy: {upstream: users}}
    tests:
      - request: {url: "https://api.example.org/v1/users/7?q=1", headers: {X-A: b}}
        expect: {route: users, path: /users/7?q=1}
  - name: canary
    match: {prefix: /canary}
    auth: none
    target: {proxy: {split: [{upstream: users, weight: 2}, {upstream: next, weight: 1}]}}
  - {name: status, match: {path: /status}, auth: none, target: {fixed: {body: ok}}}
  - {name: old, match: {regex: "/old/.*"}, priority: -1, auth: none, target: {redirect: {to: "/new"}}}
  - {name: tree, match: {path: /tree}, auth: none, target: {mount: {resource: "tests.test_plan:ROOT"}}}
"""


class Terminal(io.StringIO):
    """A stream that looks like a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "gateway.yaml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def run(capsys, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)

    def run(*arguments):
        status = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return run


# -- check ------------------------------------------------------------------------------------------------------------


def test_check_is_content_with_a_sound_file_and_warns_beside(run, file):
    status, out, err = run("check", file)
    assert (status, out) == (0, f"{file}: all is well (5 routes, 2 upstreams, 1 test)\n")
    assert err == (
        f"{file}:5:86: warning: upstreams.next.endpoints[1].weight: http://127.0.0.1:9003 gets no requests, "
        "remove it once it is drained\n"
    )


def test_check_tells_all_that_is_wrong_with_its_place(run, file):
    file.write_text(GOOD.replace("deny:", "denny:").replace("{body: ok}", "{stauts: 200}"))
    status, out, err = run("check", file)
    assert (status, out) == (1, "")
    lines = err.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"{file}:12:18", f"{file}:21:73"]
    assert "did you mean deny" in lines[0]


def test_check_tells_of_a_file_that_is_not_there(run, tmp_path):
    status, _, err = run("check", tmp_path / "nothing.yaml")
    assert status == 1
    assert err.startswith(f"{tmp_path}/nothing.yaml: ")


def test_check_tells_of_route_tests_that_failed(run, file):
    file.write_text(GOOD.replace("path: /users/7?q=1", "path: /users/8"))
    status, _, err = run("check", file)
    assert status == 1
    assert err.startswith(f"{file}:16:38: routes[0].tests[0].expect.path (users): route users, test 1: GET https://")
    assert "expected path /users/8, got /users/7?q=1" in err


def test_check_tells_of_plugins_that_are_broken(run, file, tmp_path):
    (tmp_path / "bad.py").write_text("oops(\n")
    file.write_text(GOOD + "plugins:\n  - bad.py\n")
    status, _, err = run("check", file)
    assert status == 1
    assert err.startswith(f"{file}:25:5: plugins[0]: {tmp_path}/bad.py:1: cannot be loaded: SyntaxError")


def test_check_speaks_json_to_programs(run, file):
    status, out, err = run("check", "--json", file)
    found = json.loads(out)
    assert (status, err, found["ok"], found["errors"], found["routes"], found["tests"]) == (0, "", True, [], 5, 1)
    assert found["warnings"][0]["line"] == 5
    file.write_text("listeners: []\n")
    status, out, err = run("check", "--json", file)
    found = json.loads(out)
    assert (status, err, found["ok"]) == (1, "", False)
    assert (found["errors"][0]["file"], found["errors"][0]["path"]) == (str(file), "listeners")


@pytest.mark.parametrize("shipped", ["etc/gateway.yaml", "etc/quickstart.yaml"])
def test_check_is_content_with_what_we_ship(run, shipped):
    status, _, err = run("check", ROOT / shipped)
    assert (status, err) == (0, "")


def test_check_is_content_with_every_kind_of_credential(run, tmp_path, monkeypatch):
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "identity.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    monkeypatch.setenv("IDENTITY_KEY", str(tmp_path / "identity.pem"))
    for name in ("API_KEY_PEPPER", "SESSION_KEY", "CLIENT_SECRET"):
        monkeypatch.setenv(name, f"{name} that nobody guesses, long enough")
    status, out, err = run("check", ROOT / "etc/identity.yaml")
    assert (status, err) == (0, "")
    assert "9 tests" in out
    tree = yaml.safe_load((ROOT / "etc/identity.yaml").read_text(encoding="utf-8"))
    shown = {
        kind for route in tree["routes"] if route["auth"] != "none" for entry in route["auth"]["any"] for kind in entry
    }
    assert shown == {"jwt", "api-key", "introspection", "forward-auth", "client-certificate", "session"}
    assert all(route["tests"] for route in tree["routes"])


# -- routes -----------------------------------------------------------------------------------------------------------


def test_routes_lists_them_in_order_of_precedence(run, file):
    status, out, err = run("routes", file)
    assert (status, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["ROUTE", "PRIORITY", "HOST", "PATH", "METHODS", "IF", "AUTH", "FILTERS", "TARGET"]
    assert [row[0] for row in rows[1:]] == ["users", "status", "tree", "canary", "old"]
    assert rows[1][2:5] == ["api.example.org", "/v1/users/{id}", "GET,PUT"]
    assert "X-A: *, ?q=1  none  access,rewrite  proxy users" in out
    assert "/canary and below  *" in out
    assert out.splitlines()[5].endswith("redirect 308 /new")
    assert "proxy users 2 | next 1" in out
    assert "mount tests.test_plan:ROOT" in out


def test_routes_speaks_json_to_programs(run, file):
    status, out, _ = run("routes", "--json", file)
    found = json.loads(out)
    assert status == 0
    assert found[0] == {
        "route": "users",
        "where": f"{file}:7:5",
        "priority": 0,
        "match": {
            "host": "api.example.org",
            "path": "/v1/users/{id}",
            "methods": ["GET", "PUT"],
            "headers": {"X-A": "*"},
            "query": {"q": "1"},
        },
        "auth": "none",
        "filters": [{"filter": "access", "phase": "access"}, {"filter": "rewrite", "phase": "request"}],
        "target": {"proxy": {"upstream": "users"}},
        "tests": 1,
    }


# -- explain ----------------------------------------------------------------------------------------------------------


def test_explain_tells_the_whole_story(run, file):
    status, out, err = run(
        "explain", "put", "https://api.example.org/v1/users/7?q=1", "-H", "X-A: b", "--client", "192.0.2.9", file
    )
    assert (status, err) == (0, "")
    for line in [
        "request    PUT /v1/users/7 of api.example.org, from 192.0.2.9",
        "route      users (auth none)",
        "           id = 7",
        "           canary: path differs at segment 1: 'v1' is not 'canary'",
        "filters    1. access [access]: goes on (192.0.2.9 is not in deny)",
        "           2. rewrite [request]: goes on",
        "              path: /v1/users/7 -> /users/7",
        "target     proxy",
        "upstream   users: least-request among http://127.0.0.1:9001",
        "it sees    PUT /users/7?q=1",
        "           x-forwarded-for: 192.0.2.9",
    ]:
        assert line in out.splitlines()


def test_explain_tells_the_answer_of_the_gateway(run, file):
    status, out, _ = run("explain", "GET", "/nowhere", file)
    assert status == 0
    assert "route      none" in out
    assert "answer     404 not_routed, by routing" in out


def test_explain_tells_what_was_not_there_and_what_is_gone(run, file):
    file.write_text(
        GOOD.replace('- rewrite: {path: "/users/{id}"}', "- headers: {request: {add: {X-New: '', X-A: c}}}").replace(
            "        expect: {route: users, path: /users/7?q=1}", "        expect: {route: users}"
        )
    )
    _, out, _ = run("explain", "GET", "https://api.example.org/v1/users/7?q=1", "-H", "X-A: b", file)
    assert "x-new: (none) -> (empty)" in out
    assert "x-a: b -> b, c" in out


def test_explain_tells_shares_and_which_branch_it_would_be(run, file):
    _, out, _ = run("explain", "GET", "/canary", file)
    assert "users, 66.667% of the route's requests: " in out
    file.write_text(GOOD.replace("weight: 1}]}}", "weight: 1}], sticky: client}}"))
    _, out, _ = run("explain", "GET", "/canary", file)
    assert "this request's" in out


def test_explain_tells_how_many_more_routes_there_are(run, tmp_path):
    routes = "".join(
        f"  - {{name: r{n}, match: {{path: /r{n}}}, auth: none, target: {{fixed: {{}}}}}}\n" for n in range(13)
    )
    file = tmp_path / "many.yaml"
    file.write_text("listeners: [{name: a, address: '127.0.0.1:0'}]\nroutes:\n" + routes)
    assert "           and 2 more, less near" in run("explain", "GET", "/r1", file)[1].splitlines()


def test_explain_speaks_json_to_programs(run, file):
    status, out, _ = run("explain", "GET", "/status", "--json", file)
    found = json.loads(out)
    assert (status, found["route"], found["answer"]["status"]) == (0, "status", 200)


@pytest.mark.parametrize("command", [("explain", "GET", "/"), ("routes",), ("dump",)])
def test_a_file_that_is_refused_is_refused_by_every_command(run, file, command):
    file.write_text("listeners: []\n")
    status, out, err = run(*command, file)
    assert (status, out) == (1, "")
    assert err.startswith(f"{file}:1:12: listeners: ")


@pytest.mark.parametrize(
    "arguments", [["-H", "no colon"], ["-H", ": no name"], ["--client", "somewhere"]], ids=lambda each: each[1]
)
def test_explain_refuses_what_is_no_header_or_address(capsys, file, arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(["explain", "GET", "/", *arguments, str(file)])
    assert caught.value.code == 2
    assert arguments[1] in capsys.readouterr().err


PRIVATE = """\
listeners:
  - {name: public, address: "127.0.0.1:0"}
identity:
  providers:
    corp: {issuer: https://id.example.org, audiences: [api]}
    near: {issuer: https://near.example.org, audiences: [api], secret: 0123456789abcdef0123456789abcdef, algorithms: [HS256]}
  client-certificates: {}
upstreams:
  orders: {endpoints: ["http://127.0.0.1:9001"]}
routes:
  - name: orders
    match: {prefix: /orders}
    auth: {any: [{jwt: {provider: corp}}, {jwt: {provider: near}}], scopes: {any: [read]}}
    target: {proxy: {upstream: orders}}
  - name: both
    match: {prefix: /both}
    auth: {all: [{jwt: {provider: near}}, client-certificate: ]}
    target: {proxy: {upstream: orders}}
  - {name: open, match: {path: /open}, auth: none, target: {fixed: {}}}
"""


@pytest.fixture
def private(tmp_path):
    file = tmp_path / "private.yaml"
    file.write_text(PRIVATE)
    return file


def test_explain_tells_who_is_calling(run, private):
    who = '{"subject": "al\\u001bice", "scopes": ["read", "write"], "roles": ["r"], "tenant": "t", "key": "k"}'
    status, out, err = run("explain", "GET", "/orders/7", "--principal", who, private)
    assert (status, err) == (0, "")
    assert "route      orders (auth required)" in out
    assert "filters    1. auth [authenticate]: goes on (the caller is given)" in out
    assert r"caller     al\x1bice by jwt (corp), key k, scopes read write, roles r, tenant t" in out.splitlines()
    assert "           x-auth-scopes: read write" in out.splitlines()


def test_explain_tells_why_somebody_is_refused(run, private):
    _, out, _ = run("explain", "GET", "/orders/7", "--principal", "alice", private)
    assert "answers 403 forbidden (the caller is given, insufficient_scope: scopes have none of read)" in out
    assert "caller     alice by jwt (corp)" in out
    _, out, _ = run("explain", "GET", "/both", private)
    assert "answers 401 unauthorized (jwt near: not shown; client-certificate: not shown)" in out
    assert "caller" not in out
    _, out, _ = run(
        "explain", "GET", "/both", "--principal", '{"subject": "cn", "credential": "client-certificate"}', private
    )
    assert "caller     cn by client-certificate" in out.splitlines()


def test_explain_tells_whom_it_does_not_ask_and_no_secret(run, private):
    status, out, _ = run("explain", "GET", "/orders/7", "-H", "Authorization: Bearer hush.hush.hush", private)
    assert status == 0
    assert (
        "would ask provider corp (jwt corp: provider corp would have to be asked; jwt near: refused, malformed: " in out
    )
    assert "caller     whoever provider corp says it is; what follows is for those who are let in" in out.splitlines()
    assert "upstream   orders" in out
    status, out, _ = run("explain", "GET", "/orders/7", "-H", "Authorization: Bearer hush.hush.hush", "--json", private)
    assert json.loads(out)["asks"] == "provider corp"
    assert "hush" not in out


def test_routes_tells_by_what_callers_get_in(run, private):
    rows = run("routes", private)[1].splitlines()
    assert sorted((row.split()[0], row.partition("  -   ")[2].partition("  ")[0]) for row in rows[1:]) == [
        ("both", "jwt near + client-certificate"),
        ("open", "none"),
        ("orders", "jwt corp | jwt near"),
    ]
    found = {route["route"]: route["auth"] for route in json.loads(run("routes", "--json", private)[1])}
    assert found == {
        "orders": {"any": [{"jwt": {"provider": "corp"}}, {"jwt": {"provider": "near"}}], "scopes": {"any": ["read"]}},
        "both": {"all": [{"jwt": {"provider": "near"}}, {"client-certificate": {}}]},
        "open": "none",
    }


@pytest.mark.parametrize(
    ("principal", "why"),
    [
        ("{", "not JSON: "),
        ('{"scopes": "a"}', "scopes: "),
        ('{"sub": "a"}', "sub: "),
        ("", "subject: "),
        ('{"credential": "password"}', "credential: "),
    ],
)
def test_explain_refuses_what_is_no_principal(capsys, file, principal, why):
    with pytest.raises(SystemExit) as caught:
        cli.main(["explain", "GET", "/", "--principal", principal, str(file)])
    assert caught.value.code == 2
    assert f"argument --principal: {why}" in capsys.readouterr().err


# -- dump, schema, reference ------------------------------------------------------------------------------------------


def test_dump_writes_a_file_that_means_the_same(run, file, tmp_path):
    status, out, err = run("dump", file)
    assert (status, err) == (0, "")
    again = tmp_path / "again.yaml"
    again.write_text(out)
    assert run("dump", again)[1] == out
    assert "drain: 30s" in out


def test_dump_speaks_json_to_programs(run, file):
    assert json.loads(run("dump", "--json", file)[1])["upstreams"]["users"]["balance"]["policy"] == "least-request"


def test_schema_knows_shipped_filters_and_those_of_plugins(run):
    status, out, _ = run("schema", "--plugin", ROOT / "etc/filters/maintenance.py")
    assert status == 0
    assert '"rewrite"' in out
    assert '"maintenance"' in out
    assert json.loads(out)["$schema"].startswith("https://json-schema.org/")


def test_schema_tells_of_plugins_that_are_broken(run, tmp_path):
    status, out, err = run("schema", "--plugin", tmp_path / "nothing.py")
    assert (status, out) == (1, "")
    assert "nothing.py: cannot be read" in err


def test_reference_writes_the_page(run, tmp_path):
    page = tmp_path / "configuration.rst"
    assert run("reference", page) == (0, "", "")
    assert run("reference")[1].rstrip("\n") == page.read_text().rstrip("\n")
    assert "strip-prefix" in page.read_text()


# -- the command line -------------------------------------------------------------------------------------------------


def test_help_names_the_commands_and_what_the_status_means(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    out = capsys.readouterr().out
    assert caught.value.code == 0
    for command in ("check", "explain", "routes", "dump", "schema"):
        assert f"\n    {command} " in out
    assert "reference" not in out
    assert "exit status:\n  0 " in out


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help(capsys, command):
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    assert "exit status:" in capsys.readouterr().out


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"suuupra-gateway {suuupra_gateway.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["chekc", "x"], ["check"], ["check", "--yaml", "x"]])
def test_a_wrong_command_line_is_status_2(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: suuupra-gateway" in capsys.readouterr().err


def test_colours_are_for_terminals_only(file):
    options = cli.parser().parse_args(["check", str(file)])
    for stream, coloured in [(Terminal, True), (io.StringIO, False)]:
        out, err = stream(), stream()
        assert options.run(options, Console(out, err)) == 0
        assert ["\x1b[" in out.getvalue(), "\x1b[" in err.getvalue()] == [coloured, coloured]
    out = Terminal()
    options.run(options, Console(out, Terminal(), colour=False))
    assert "\x1b[" not in out.getvalue()


def test_the_environment_may_turn_colours_off(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert Console.of_process().styled("x", "1") == "x"


# -- as a process -----------------------------------------------------------------------------------------------------


def process(*arguments, **more):
    command = [sys.executable, "-m", "suuupra_gateway.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False, **more)


def test_it_runs_as_a_process_and_installs_no_reactor(file):
    done = process("check", file)
    assert (done.returncode, done.stdout) == (0, f"{file}: all is well (5 routes, 2 upstreams, 1 test)\n")
    code = f"import sys\nfrom suuupra_gateway.cli import main\nmain(['check', {str(file)!r}])\n"
    assert imported_by(code, "twisted.internet.reactor", "twisted.web.resource") == ["twisted.web.resource"]


def imported_by(code, *names):
    """Which of these modules are there after ``code`` has run."""
    code += f"print([name for name in {names!r} if name in sys.modules])"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=True)
    return ast.literal_eval(done.stdout.splitlines()[-1])


def test_help_imports_next_to_nothing():
    code = "import sys\ntry:\n import suuupra_gateway.cli as c; c.main(['--help'])\nexcept SystemExit: pass\n"
    assert imported_by(code, "pydantic", "twisted", "yaml", "attrs") == []


def test_a_reader_that_has_seen_enough_is_no_error(file):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as out:
        command = [sys.executable, "-m", "suuupra_gateway.cli", "dump", str(file)]
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
