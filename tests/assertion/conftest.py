"""A gateway that signs, and what a service knows of it."""

import pytest

from tests.assertion.statements import Network, Signing, guarding


@pytest.fixture
def signing(tmp_path):
    return Signing(tmp_path)


@pytest.fixture
def network(signing):
    return Network(signing)


@pytest.fixture
def guard(network):
    return guarding(network)
