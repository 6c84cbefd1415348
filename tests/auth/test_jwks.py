"""The life of a key set: a provider in memory that answers well, badly, slowly and not at all."""

from __future__ import annotations

import json
import stat

import msgspec
import pytest
from treq.testing import RequestTraversalAgent
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from suuupra_gateway.auth.fetch import Fetch
from suuupra_gateway.auth.jwks import SHORTEST, TIMEOUT, KeyWatch
from suuupra_gateway.auth.publication import Published
from suuupra_gateway.config.model import ProviderSpec
from suuupra_gateway.config.units import Duration
from tests.auth.tokens import NOW, jwk

ISSUER = "https://login.example.org/tenant"
METADATA = "/tenant/.well-known/openid-configuration"
SLOW = object()


class Site(Resource):
    """A provider's web site: what lies where, and how often it was asked for."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.pages: dict[str, object] = {}
        self.asked: list[str] = []
        self.headers: dict[str, str] = {}
        self.request = None

    def render_GET(self, request):
        path = request.uri.decode()
        self.asked.append(path)
        self.request = request
        page = self.pages.get(path, 404)
        if page is SLOW:
            return NOT_DONE_YET
        if isinstance(page, int):
            request.setResponseCode(page)
            page = b"no"
        for name, value in self.headers.items():
            request.setHeader(name, value)
        return page if isinstance(page, bytes) else json.dumps(page).encode()


class Host:
    """A watch with everything around it in memory."""

    def __init__(
        self, snapshot=None, discovered: bool = False, site: Site | None = None, now: float = NOW, **more
    ) -> None:
        self.site = site or Site()
        self.site.pages.setdefault("/keys", {"keys": [jwk(kid="a")]})
        self.site.pages.setdefault(METADATA, {"issuer": ISSUER, "jwks_uri": "https://login.example.org/keys"})
        where = {} if discovered else {"jwks": "https://login.example.org/keys"}
        self.spec = ProviderSpec(**{"name": "idp", "issuer": ISSUER, "audiences": ("x",), **where, **more})
        self.clock, self.now = Clock(), now
        self.agent = RequestTraversalAgent(self.site)
        self.published: list[Published] = []
        self.watch = KeyWatch(
            self.spec,
            Fetch(self.clock, agent=self.agent),
            self.clock,
            lambda value: self.published.append(msgspec.json.decode(value, type=Published)),
            snapshot,
            wall=lambda: self.now,
            jitter=lambda: 0.0,
        )

    def start(self) -> Host:
        self.watch.start()
        self.pump()
        return self

    def pump(self) -> None:
        for _ in range(4):
            self.agent.flush()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.clock.advance(seconds)
        self.pump()

    def ask(self) -> list[bytes]:
        answered: list[bytes] = []
        self.watch.ask(b'{"kid":"b"}').addCallback(answered.append)
        self.pump()
        return answered

    @property
    def last(self) -> Published:
        return self.published[-1]

    @property
    def kids(self) -> list[str]:
        return [key["kid"] for key in (self.last.keys or {"keys": []})["keys"]]

    @property
    def pause(self) -> float:
        (call,) = self.clock.getDelayedCalls()
        return call.getTime() - self.clock.seconds()


# -- fetching ---------------------------------------------------------------------------------------------------------


def test_a_key_set_is_fetched_at_once_and_published():
    host = Host().start()

    assert host.site.asked == ["/keys"]
    assert host.last == Published(None, {"keys": [jwk(kid="a")]}, NOW, "")
    assert host.watch.fetches == {"ok": 1, "failed": 0}
    assert host.watch.age == 0.0


def test_metadata_is_discovered_below_the_issuer():
    host = Host(discovered=True).start()

    assert host.site.asked == [METADATA, "/keys"]
    assert host.last.metadata == {"issuer": ISSUER, "jwks_uri": "https://login.example.org/keys"}
    assert host.kids == ["a"]


def test_an_issuer_may_end_with_a_slash():
    host = Host(discovered=True, issuer=ISSUER + "/")
    host.site.pages[METADATA] = {"issuer": ISSUER + "/", "jwks_uri": "https://login.example.org/keys"}

    assert host.start().kids == ["a"]


def test_a_provider_over_plain_http_may_have_its_keys_there_too():
    host = Host(discovered=True, issuer="http://127.0.0.1/tenant")
    host.site.pages[METADATA] = {"issuer": "http://127.0.0.1/tenant", "jwks_uri": "http://127.0.0.1/keys"}

    assert host.start().kids == ["a"]


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (404, "metadata is answered with status 404"),
        (302, "metadata is answered with status 302"),
        (b"<html>", "no JSON object"),
        (b"[]", "no JSON object"),
        (b'{"issuer": "\xff"}', "no JSON object"),
        (b'{"a":' * 20_000, "no JSON object"),
        ({}, "another issuer"),
        ({"issuer": ISSUER + "/"}, "another issuer"),
        ({"issuer": "http" + ISSUER[5:]}, "another issuer"),
        ({"issuer": [ISSUER]}, "another issuer"),
        ({"issuer": ISSUER}, "no jwks_uri"),
        ({"issuer": ISSUER, "jwks_uri": 7}, "no jwks_uri"),
        ({"issuer": ISSUER, "jwks_uri": "http://login.example.org/keys"}, "no jwks_uri"),
        ({"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"}, "no jwks_uri"),
        ({"issuer": ISSUER, "jwks_uri": "/keys"}, "no jwks_uri"),
        ({"issuer": ISSUER, "jwks_uri": "https://[::1"}, ""),
    ],
    ids=repr,
)
def test_metadata_that_is_not_this_issuers_is_refused(page, why):
    host = Host(discovered=True)
    host.site.pages[METADATA] = page
    host.start()

    assert why in host.last.error
    assert host.last.error
    assert host.last.keys is None
    assert "/keys" not in host.site.asked
    assert host.watch.age is None
    assert host.watch.fetches == {"ok": 0, "failed": 1}


BAD = [
    (500, "status 500"),
    (404, "status 404"),
    (301, "status 301"),
    (204, "status 204"),
    (b"", "no JSON"),
    (b"<html>Maintenance</html>", "no JSON"),
    (b"\xff\xfe", "no JSON"),
    (b"[" * 100_000, "no JSON"),
    ([], "no key set"),
    ({"keys": None}, "no key set"),
    ({"keys": []}, "no key that can be used"),
    ({"keys": [jwk(use="enc"), {"kty": "oct", "k": "AAAA"}]}, "no key that can be used"),
    ({"keys": [{}] * 101}, "101 keys"),
    (b'{"keys": []}' + b" " * 10_000_000, "more than"),
]


@pytest.mark.parametrize(("page", "why"), BAD, ids=[repr(page)[:20] for page, _ in BAD])
def test_whatever_comes_instead_of_keys_the_last_ones_stay(page, why):
    host = Host().start()
    host.site.pages["/keys"] = page
    host.pass_time(900)

    assert host.kids == ["a"]
    assert why in host.last.error
    assert host.last.fetched == NOW
    assert host.watch.age == 900
    host.site.pages["/keys"] = {"keys": [jwk(kid="b")]}
    host.pass_time(1)
    assert (host.kids, host.last.error, host.last.fetched) == (["b"], "", NOW + 901)


def test_redirects_are_not_followed():
    host = Host()
    host.site.pages["/keys"] = 302
    host.site.headers["location"] = "https://login.example.org/other"
    host.start()

    assert host.site.asked == ["/keys"]
    assert "302" in host.last.error


def test_a_provider_that_is_slow_is_given_up():
    host = Host()
    host.site.pages["/keys"] = SLOW
    host.start()
    assert host.published == []

    host.pass_time(TIMEOUT)
    assert "within 5 s" in host.last.error
    assert host.pause == 1.0


def test_a_key_that_cannot_be_used_does_not_keep_the_others_away():
    host = Host()
    host.site.pages["/keys"] = {"keys": [{"kty": "XMSS", "kid": "z"}, jwk(kid="a")]}

    assert host.start().last.error == ""


# -- when -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 900),
        ("max-age=300", 300),
        ("public, max-age=300, must-revalidate", 300),
        ('MAX-AGE = "300"', 300),
        ("max-age=86400", 900),
        ("max-age=0", SHORTEST),
        ("s-maxage=40", 900),
        ("no-cache", 900),
        ("max-age=-1", 900),
        ("max-age=soon", 900),
    ],
)
def test_it_is_fetched_again_when_it_is_old(header, seconds):
    host = Host()
    if header:
        host.site.headers["cache-control"] = header
    host.start()

    assert host.pause == seconds
    host.pass_time(seconds)
    assert len(host.site.asked) == 2


def test_it_is_fetched_more_often_if_somebody_wants_that():
    assert Host(refresh=Duration(5.0)).start().pause == 5


def test_not_all_hosts_come_at_the_same_time():
    host = Host()
    host.watch._jitter = lambda: 1.0

    assert host.start().pause == pytest.approx(810)


def test_while_it_fails_it_is_tried_less_and_less_often():
    host = Host()
    host.site.pages["/keys"] = 500
    host.start()
    pauses = []
    for _ in range(20):
        pauses.append(host.pause)
        host.pass_time(host.pause)

    assert pauses[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert set(pauses[8:]) == {60}
    host.site.pages["/keys"] = {"keys": [jwk(kid="b")]}
    host.pass_time(60)
    assert host.pause == 900


def test_a_failure_is_logged_once_and_so_is_its_end():
    seen = []
    globalLogPublisher.addObserver(seen.append)
    try:
        host = Host()
        host.site.pages["/keys"] = 500
        host.start()
        for _ in range(5):
            host.pass_time(60)
        host.site.pages["/keys"] = 404
        host.pass_time(60)
        host.site.pages["/keys"] = {"keys": [jwk(kid="a")]}
        host.pass_time(60)
    finally:
        globalLogPublisher.removeObserver(seen.append)

    assert [event["log_level"].name for event in seen if "name" in event] == ["warn", "warn", "info"]


# -- questions --------------------------------------------------------------------------------------------------------


def test_any_number_of_questions_makes_one_fetch():
    host = Host().start()
    host.site.pages["/keys"] = SLOW
    pending = [host.ask() for _ in range(50)]
    assert len(host.site.asked) == 2

    host.site.request.write(json.dumps({"keys": [jwk(kid="b")]}).encode())
    host.site.request.finish()
    host.pump()
    assert pending == [[b""]] * 50
    assert host.kids == ["b"]


def test_after_a_question_there_is_a_pause():
    host = Host(cooldown=Duration(30.0)).start()
    assert host.ask() == [b""]
    assert len(host.site.asked) == 2

    for _ in range(29):
        host.pass_time(1)
        assert host.ask() == [b""]
    assert len(host.site.asked) == 2
    host.pass_time(1)
    host.ask()
    assert len(host.site.asked) == 3


def test_a_question_puts_off_the_fetch_that_was_due():
    host = Host().start()
    host.pass_time(600)
    host.ask()

    assert host.pause == 900


def test_a_question_during_a_fetch_waits_for_that():
    host = Host()
    host.site.pages["/keys"] = SLOW
    host.start()
    pending = host.ask()
    assert pending == []

    host.pass_time(TIMEOUT)
    assert pending == [b""]
    assert len(host.site.asked) == 1


def test_while_it_fails_questions_are_tried_once_a_second():
    host = Host()
    host.site.pages["/keys"] = 500
    host.start()
    for _ in range(10):
        host.pass_time(host.pause)
    asked = len(host.site.asked)

    for _ in range(3):
        assert host.ask() == [b""]
    assert len(host.site.asked) == asked
    host.pass_time(1)
    host.site.pages["/keys"] = {"keys": [jwk(kid="a")]}
    assert host.ask() == [b""]
    assert host.kids == ["a"]


# -- the end ----------------------------------------------------------------------------------------------------------


def test_a_watch_that_was_stopped_does_nothing_any_more():
    host = Host().start()
    host.watch.stop()
    host.watch.stop()

    assert host.clock.getDelayedCalls() == []
    assert host.ask() == [b""]
    assert len(host.site.asked) == 1


def test_a_watch_that_is_stopped_while_it_fetches_publishes_nothing():
    host = Host()
    host.site.pages["/keys"] = SLOW
    host.start()
    pending = host.ask()
    host.watch.stop()
    host.pump()

    assert pending == [b""]
    assert host.published == []
    assert host.watch.fetches == {"ok": 0, "failed": 0}
    assert host.clock.getDelayedCalls() == []


def test_a_watch_that_is_stopped_by_its_own_news_is_stopped():
    for fails in (False, True):
        host = Host()

        def publish(value, host=host, fails=fails):
            host.watch.stop()
            if fails:
                raise ValueError("too late")

        host.watch._publish = publish
        host.start()
        assert host.clock.getDelayedCalls() == []


def test_a_bug_does_not_end_the_watch():
    host = Host()
    publish, host.watch._publish = host.watch._publish, lambda value: 1 / 0
    seen = []
    globalLogPublisher.addObserver(seen.append)
    try:
        host.start()
    finally:
        globalLogPublisher.removeObserver(seen.append)
    assert any("log_failure" in event for event in seen)

    host.watch._publish = publish
    host.pass_time(60)
    assert host.kids == ["a"]


# -- the disk ---------------------------------------------------------------------------------------------------------


def test_a_restart_with_the_provider_down_has_the_keys_of_before(tmp_path):
    file = tmp_path / "provider.json"
    Host(file, discovered=True).start().watch.stop()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    site = Site()
    site.pages |= {"/keys": 500, METADATA: 500}
    host = Host(file, discovered=True, site=site, now=NOW + 3600).start()
    assert host.kids == ["a"]
    assert host.last.metadata is not None
    assert host.last.fetched == NOW
    assert "500" in host.last.error
    assert host.watch.age == 3600


def test_what_is_remembered_is_published_before_anything_is_fetched(tmp_path):
    file = tmp_path / "provider.json"
    Host(file).start()
    site = Site()
    site.pages["/keys"] = SLOW

    assert Host(file, site=site).start().kids == ["a"]


@pytest.mark.parametrize("later", [86400, 1e9, -1])
def test_what_is_too_old_or_of_the_future_is_not_used(tmp_path, later):
    file = tmp_path / "provider.json"
    Host(file).start()
    site = Site()
    site.pages["/keys"] = 500
    host = Host(file, site=site, now=NOW + later).start()

    assert host.last.keys is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"fetched": "x"}', b'{"keys": {}, "fetched": 1}', b"[" * 100_000, b"{}"]
)
def test_what_is_broken_on_the_disk_is_not_used_and_replaced(tmp_path, content):
    file = tmp_path / "provider.json"
    file.write_bytes(content)
    host = Host(file).start()

    assert len(host.published) == 1
    assert msgspec.json.decode(file.read_bytes(), type=Published).keys == {"keys": [jwk(kid="a")]}


def test_a_link_or_rest_in_the_way_is_not_written_through(tmp_path):
    file, victim = tmp_path / "provider.json", tmp_path / "victim"
    victim.write_text("precious")
    file.with_suffix(".new").symlink_to(victim)
    Host(file).start()

    assert victim.read_text() == "precious"
    assert file.exists()
    assert not file.with_suffix(".new").exists()


def test_a_disk_that_fails_keeps_nobody_from_keys(tmp_path):
    file = tmp_path / "provider.json"
    file.mkdir()

    assert Host(file).start().kids == ["a"]
