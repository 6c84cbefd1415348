"""Who gets the next request."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suuupra_gateway.policy.balance import LeastRequest, Rendezvous, RoundRobin, WeightedRandom


class Peer:
    """A choice with a load."""

    def __init__(self, name, active=0):
        self.name = name
        self.active = active

    def __repr__(self):
        return self.name


def peers(count):
    return [Peer(f"p{number}") for number in range(count)]


def make(kind, pairs, seed=1):
    chance = random.Random(seed)
    if kind is Rendezvous:
        return Rendezvous(pairs, lambda peer: peer.name)
    return kind(pairs, chance.random)


ALL = [LeastRequest, RoundRobin, WeightedRandom, Rendezvous]


def shares(balancer, count, **kwargs):
    return Counter(balancer.choose(b"key-%d" % number, **kwargs) for number in range(count))


@pytest.mark.parametrize("kind", ALL)
def test_nobody_to_choose_from_is_nobody(kind):
    assert make(kind, []).choose(b"", ()) is None
    assert make(kind, [(Peer("a"), 0)]).choose(b"", ()) is None


@pytest.mark.parametrize("kind", ALL)
def test_a_single_one_gets_all_even_if_it_is_to_be_avoided(kind):
    one = Peer("a")
    assert make(kind, [(one, 1)]).choose(b"", ()) is one
    assert make(kind, [(one, 1), (Peer("b"), 0)]).choose(b"", (one,)) is one


@pytest.mark.parametrize("kind", ALL)
def test_whoever_is_to_be_avoided_is_left_out_while_there_are_others(kind):
    made = peers(3)
    balancer = make(kind, [(made[0], 5), (made[1], 1), (made[2], 1)])
    assert set(shares(balancer, 100, avoid=(made[0],))) == {made[1], made[2]}
    assert set(shares(balancer, 20, avoid=(made[0], made[2]))) == {made[1]}
    assert set(shares(balancer, 300, avoid=tuple(made))) == set(made)
    stranger = Peer("x")
    assert set(shares(balancer, 300, avoid=(stranger,))) == set(made)


@pytest.mark.parametrize("kind", ALL)
def test_equal_weights_get_equal_shares(kind):
    made = peers(4)
    counts = shares(make(kind, [(peer, 1) for peer in made]), 4000)
    assert all(850 <= counts[peer] <= 1150 for peer in made)


@pytest.mark.parametrize("kind", ALL)
def test_unequal_weights_get_their_shares_and_none_gets_nothing(kind):
    made = peers(4)
    counts = shares(make(kind, list(zip(made, [1, 2, 5, 0], strict=True))), 4000)
    assert 400 <= counts[made[0]] <= 620
    assert 850 <= counts[made[1]] <= 1170
    assert 2250 <= counts[made[2]] <= 2750
    assert counts[made[3]] == 0


def test_the_less_loaded_of_two_is_taken():
    made = [Peer("busy", 9), Peer("idle", 0)]
    assert set(shares(make(LeastRequest, [(peer, 1) for peer in made]), 50)) == {made[1]}


def test_the_most_loaded_of_many_is_never_taken_when_two_differ():
    made = [Peer(f"p{load}", load) for load in range(8)]
    counts = shares(make(LeastRequest, [(peer, 1) for peer in made]), 2000)
    assert counts[made[7]] == 0
    assert counts[made[0]] > counts[made[3]] > counts[made[6]]


def test_load_counts_in_proportion_to_weight():
    light, heavy = Peer("light", 2), Peer("heavy", 3)
    assert set(shares(make(LeastRequest, [(light, 1), (heavy, 4)]), 100)) <= {light, heavy}
    counts = shares(make(LeastRequest, [(light, 1), (heavy, 4)]), 400)
    assert counts[heavy] > 390  # 3/4 of a request per weight against 2; light only when it is drawn each time


def test_least_request_keeps_many_peers_nearly_even():
    made = peers(10)
    balancer = make(LeastRequest, [(peer, 1) for peer in made])
    for _ in range(1000):
        balancer.choose(b"").active += 1
    loads = [peer.active for peer in made]
    assert max(loads) - min(loads) <= 6


def test_round_robin_takes_turns_and_spreads_the_heavy_ones():
    made = peers(3)
    balancer = RoundRobin([(made[0], 5), (made[1], 1), (made[2], 1)], lambda: 0.0)
    order = "".join(balancer.choose(b"").name[1] for _ in range(7))
    assert order == "0010200"


def test_round_robin_begins_anywhere_in_the_round():
    made = peers(3)
    pairs = [(peer, 1) for peer in made]
    begins = {RoundRobin(pairs, lambda start=start: start / 3).choose(b"") for start in range(3)}
    assert begins == set(made)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=8))
def test_a_round_gives_each_exactly_its_weight(weights):
    made = peers(len(weights))
    balancer = RoundRobin(list(zip(made, weights, strict=True)), lambda: 0.5)
    counts = Counter(balancer.choose(b"") for _ in range(sum(weights)))
    assert [counts[peer] for peer in made] == weights


@given(st.binary(max_size=40), st.integers(1, 8))
def test_a_key_stays_with_its_peer_in_every_process_and_order(key, count):
    made = peers(count)
    pairs = [(peer, 1 + number % 3) for number, peer in enumerate(made)]
    one = make(Rendezvous, pairs).choose(key)
    again = make(Rendezvous, list(reversed(pairs)), seed=2).choose(key)
    assert one is again


def test_a_key_stays_where_it_was_when_another_peer_goes():
    made = peers(5)
    before = make(Rendezvous, [(peer, 1) for peer in made])
    after = make(Rendezvous, [(peer, 1) for peer in made[:4]])
    for number in range(500):
        key = b"%d" % number
        chosen = before.choose(key)
        if chosen is not made[4]:
            assert after.choose(key) is chosen


def test_hashes_do_not_depend_on_the_process():
    made = peers(4)
    balancer = make(Rendezvous, [(peer, 1) for peer in made])
    assert "".join(balancer.choose(b"user-%d" % number).name[1] for number in range(12)) == HASHED


HASHED = "222000022300"


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.integers(0, 2**32))
def test_weighted_chance_stays_inside_the_choices(weights, seed):
    made = peers(len(weights))
    balancer = WeightedRandom(list(zip(made, weights, strict=True)), random.Random(seed).random)
    assert all(balancer.choose(b"") in made for _ in range(20))


def test_the_ends_of_chance_are_the_first_and_the_last():
    made = peers(3)
    pairs = [(peer, 2) for peer in made]
    assert WeightedRandom(pairs, lambda: 0.0).choose(b"") is made[0]
    assert WeightedRandom(pairs, lambda: 1 - 2**-53).choose(b"") is made[2]


def test_a_heavy_favourite_does_not_keep_least_request_drawing_for_ever():
    heavy, light = Peer("heavy"), Peer("light")
    assert LeastRequest([(heavy, 1000), (light, 1)], lambda: 0.0).choose(b"") is heavy
