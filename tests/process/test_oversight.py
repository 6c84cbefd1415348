"""What the supervisor watches for which configuration, and for how long."""

import json

import pytest

from suuupra_gateway.auth.publication import digest, read, topic
from suuupra_gateway.config.model import IdentitySpec, ProviderSpec, StoreSpec
from suuupra_gateway.config.units import Duration, Secret
from suuupra_gateway.process.board import Board
from suuupra_gateway.process.control import Unanswered
from suuupra_gateway.process.oversight import CannotWatch, Oversight
from tests.auth.tokens import jwk
from tests.process import rig
from tests.process.threads import Turning

NOW = 1_800_000_000.0


@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)


def provider(name="idp", port=1, **more):
    where = {} if "secret" in more or "keys" in more else {"jwks": f"http://127.0.0.1:{port}/keys"}
    return ProviderSpec(**{"name": name, "issuer": "https://login.example.org", "audiences": ("x",), **where, **more})


def configuration(*providers, state="", store=None):
    return rig.configuration(IdentitySpec(providers=providers), state_dir=str(state), store=store)


class Host:
    def __init__(self):
        self.reactor = Turning()
        self.board = Board()
        self.oversight = Oversight(self.reactor, self.board, wall=lambda: NOW)

    def watched(self, spec):
        """Whether somebody here answers for a provider."""
        failures = []
        self.board.asked(topic(spec), b"{}").addErrback(failures.append)
        assert all(failure.check(Unanswered) for failure in failures)
        return not failures

    def published(self, spec):
        value = self.board._values.get(topic(spec))
        return read(value) if value is not None else None

    def fetches(self):
        """How many fetches are under way."""
        return len(self.reactor.tcpClients)


@pytest.fixture
def host():
    return Host()


def test_only_providers_whose_keys_come_over_the_network_are_watched(host):
    fetched, secret, filed = provider("a"), provider("b", secret=Secret("s" * 64)), provider("c", keys="/keys.pem")
    host.oversight.expect(configuration(fetched, secret, filed))
    assert [host.watched(spec) for spec in (fetched, secret, filed)] == [True, False, False]
    host.oversight.stop()


def test_fetching_begins_before_the_configuration_is_in_force(host):
    host.oversight.expect(configuration(provider()))
    assert host.fetches() == 1
    host.oversight.stop()


def test_a_provider_that_stays_the_same_is_watched_on(host):
    host.oversight.expect(configuration(provider()))
    host.oversight.expect(configuration(provider(leeway=Duration(7.0)), provider("new", 2)))
    host.oversight.settle(configuration(provider(leeway=Duration(7.0)), provider("new", 2)))
    assert host.fetches() == 2, "one each"
    assert host.watched(provider())
    host.oversight.stop()


def test_a_provider_that_nobody_names_any_more_is_let_go(host):
    host.oversight.expect(configuration(provider(), provider("old", 2)))
    host.oversight.settle(configuration(provider()))
    assert host.watched(provider())
    assert not host.watched(provider("old", 2))
    calls = len(host.reactor.getDelayedCalls())
    host.oversight.stop()
    assert len(host.reactor.getDelayedCalls()) < calls


def test_what_a_refused_configuration_wanted_is_let_go_again(host):
    before, refused = configuration(provider()), configuration(provider("new", 2))
    host.oversight.expect(before)
    host.oversight.settle(before)
    host.oversight.expect(refused)
    assert host.watched(provider("new", 2))
    host.oversight.settle(before)
    assert host.watched(provider())
    assert not host.watched(provider("new", 2))
    host.oversight.stop()


def test_a_provider_that_cannot_be_watched_is_named_and_those_before_it_are_let_go_again(host, tmp_path):
    good, bad = provider("good"), provider("bad", 2, ca_file=str(tmp_path / "missing.pem"))
    with pytest.raises(CannotWatch, match=r"identity\.providers\.bad: .*missing\.pem"):
        host.oversight.expect(configuration(good, bad))
    host.oversight.settle(configuration())
    assert not host.watched(good)
    assert not host.watched(bad)


def test_a_store_that_cannot_be_listened_to_is_named(host):
    store = StoreSpec(url="rediss://localhost", ca_file="/nonexistent/ca.pem")
    with pytest.raises(CannotWatch, match=r"gateway\.store: "):
        host.oversight.expect(configuration(store=store))


def test_nothing_goes_on_after_the_end(host):
    host.oversight.expect(configuration(provider(), store=StoreSpec(url="unix:/nonexistent/redis")))
    ended = []
    host.oversight.stop().addBoth(ended.append)
    host.reactor.until(lambda: ended, 1.0)
    assert ended == [None]
    before = host.fetches()
    host.reactor.advance(3600)
    assert host.fetches() == before
    assert list(host.oversight.samples()) == []


def remembered(directory, spec, fetched=NOW - 60):
    directory.chmod(0o700)
    value = {"metadata": None, "keys": {"keys": [jwk("ES256", kid="a")]}, "fetched": fetched, "error": ""}
    (directory / f"provider-{digest(spec)}.json").write_text(json.dumps(value))


def test_what_was_remembered_is_published_at_once(host, tmp_path):
    remembered(tmp_path, provider())
    host.oversight.expect(configuration(provider(), state=tmp_path))
    assert [key["kid"] for key in host.published(provider()).keys["keys"]] == ["a"]
    samples = {(sample.name, sample.labels): sample.value for sample in host.oversight.samples()}
    assert samples["suuupra_jwks_age_seconds", (("provider", "idp"),)] == 60
    assert samples["suuupra_jwks_fetches_total", (("provider", "idp"), ("result", "ok"))] == 0
    host.oversight.stop()


def test_what_others_could_have_written_is_not_believed(host, tmp_path):
    remembered(tmp_path, provider())
    tmp_path.chmod(0o777)
    host.oversight.expect(configuration(provider(), state=tmp_path))
    assert host.published(provider()) is None
    assert host.watched(provider()), "and keys are fetched all the same"
    host.oversight.stop()


def test_a_state_directory_that_cannot_be_made_keeps_nobody_from_fetching(host, tmp_path):
    (tmp_path / "file").touch()
    host.oversight.expect(configuration(provider(), state=tmp_path / "file" / "state"))
    assert host.watched(provider())
    host.oversight.stop()


def test_metrics_say_whether_revocations_are_heard_of(host):
    config = configuration(store=StoreSpec(url="unix:/nonexistent/redis"))
    assert list(host.oversight.samples()) == []
    host.oversight.expect(config)
    assert [(sample.name, sample.value) for sample in host.oversight.samples()] == [("suuupra_revocations_heard", 0.0)]
    host.oversight.settle(configuration())
    assert list(host.oversight.samples()) == []
