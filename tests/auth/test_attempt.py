"""Attempts to log in live in the browser that began them."""

import hashlib

import pytest

from suuupra_gateway.auth.attempt import LASTS, MOST, Attempt, Attempts
from suuupra_gateway.auth.cookies import CookieJar
from suuupra_gateway.auth.seal import Ring
from suuupra_gateway.config.units import Secret
from suuupra_gateway.http.message import RequestHead
from tests.auth.tokens import encoded

KEY = Secret("a key of attempts with more than thirty-two characters")


class Tab:
    """A browser, and time."""

    def __init__(self, login: str = "shop", key: Secret = KEY) -> None:
        self.now = 1000.0
        self.jar = {}
        self.attempts = Attempts(Ring([key], "attempts"), CookieJar(secure=True), login, lambda: self.now)

    @property
    def head(self):
        line = b"; ".join(b"%b=%b" % pair for pair in self.jar.items())
        return RequestHead(b"GET", b"/", [(b"cookie", line)] if line else [])

    def begin(self, return_to="/x"):
        attempt, fields = self.attempts.begin(self.head, return_to)
        for _, value in fields:
            name, _, rest = value.partition(b"=")
            if b"Max-Age=0" in rest:
                del self.jar[name]
            else:
                assert rest.endswith(b"; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=600")
                self.jar[name] = rest.partition(b";")[0]
        return attempt

    def find(self, state):
        return self.attempts.find(self.head, state)


def test_everything_about_an_attempt_is_random():
    made = [Attempt.new("/", 0.0) for _ in range(50)]
    for texts in ([a.state for a in made], [a.nonce for a in made], [a.verifier for a in made]):
        assert len(set(texts)) == 50
        assert all(len(text) == 43 for text in texts)  # 256 bits, and enough characters for RFC 7636 section 4.1


def test_the_challenge_is_the_hash_of_the_verifier():
    attempt = Attempt.new("/", 0.0)
    assert attempt.challenge == encoded(hashlib.sha256(attempt.verifier.encode()).digest()).decode()


def test_an_attempt_is_found_in_its_own_browser_only():
    one, other = Tab(), Tab()
    attempt = one.begin()
    assert one.find(attempt.state) == attempt
    assert other.find(attempt.state) is None
    assert one.find(other.begin().state) is None


def test_the_cookie_hides_all_of_it():
    tab = Tab()
    attempt = tab.begin("/secret-place")
    (name, value) = next(iter(tab.jar.items()))
    assert name == b"__Host-sg_oidc_" + hashlib.sha256(attempt.state.encode()).hexdigest()[:8].encode()
    for text in (attempt.state, attempt.nonce, attempt.verifier, "secret-place"):
        assert text.encode() not in value


def test_every_changed_byte_of_the_cookie_ends_the_attempt():
    tab = Tab()
    attempt = tab.begin()
    ((name, value),) = tab.jar.items()
    for place in range(len(value)):
        changed = bytearray(value)
        changed[place] = ord("A") if changed[place] != ord("A") else ord("B")
        tab.jar[name] = bytes(changed)
        assert tab.find(attempt.state) is None


def test_a_cookie_under_another_name_is_nothing():
    """Though the states of two attempts may have the same eight digits, each counts for its own."""
    tab = Tab()
    first, second = tab.begin(), tab.begin()
    (one, other) = tab.jar
    tab.jar[one], tab.jar[other] = tab.jar[other], tab.jar[one]
    assert tab.find(first.state) is tab.find(second.state) is None


def test_another_login_of_the_same_host_has_attempts_of_its_own():
    shop, blog = Tab("shop"), Tab("blog")
    attempt = shop.begin()
    blog.jar = dict(shop.jar)
    assert blog.find(attempt.state) is None


@pytest.mark.parametrize("state", ["", "x", "é" * 50])
def test_odd_states_are_of_no_attempt(state):
    tab = Tab()
    tab.begin()
    assert tab.find(state) is None


def test_attempts_are_over_after_ten_minutes():
    tab = Tab()
    attempt = tab.begin()
    tab.now += LASTS - 1
    assert tab.find(attempt.state) == attempt
    tab.now += 1
    assert tab.find(attempt.state) is None


def test_there_are_five_at_a_time_and_the_oldest_goes():
    tab = Tab()
    begun = []
    for _ in range(MOST + 3):
        begun.append(tab.begin())
        tab.now += 1
        assert len(tab.jar) <= MOST
    assert [tab.find(attempt.state) for attempt in begun] == [None] * 3 + begun[3:]


def test_attempts_that_are_over_or_cannot_be_opened_are_taken_away():
    tab = Tab()
    tab.begin()
    tab.now += LASTS
    tab.jar[b"__Host-sg_oidc_00000000"] = b"planted"
    tab.jar[b"__Host-sg_oidc_notours"] = b"stays"
    tab.begin()
    assert len(tab.jar) == 2
    assert b"__Host-sg_oidc_notours" in tab.jar


def test_a_stranger_with_hundreds_of_cookies_costs_no_more_than_twenty():
    tab = Tab()
    tab.jar = {b"__Host-sg_oidc_%08x" % number: b"A" * 90 for number in range(300)}
    _, fields = tab.attempts.begin(tab.head, "/")
    assert len(fields) == 21


def test_the_end_takes_the_cookie_away():
    tab = Tab()
    attempt = tab.begin()
    name, value = tab.attempts.end(attempt.state)
    assert name == b"set-cookie"
    assert value.startswith(next(iter(tab.jar)) + b"=;")
