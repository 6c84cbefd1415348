"""A real Redis for those who ask for it, and connections to it that need no reactor."""

import pytest

from tests.auth.redisline import RedisLine
from tests.servers.redis import RedisServer


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def lines(server):
    """As many connections as a test wants, to an empty server."""
    server.ask("FLUSHALL")
    made = []

    def more():
        made.append(RedisLine(server))
        return made[-1]

    yield more
    for each in made:
        each.close()


@pytest.fixture
def line(lines):
    """One connection to an empty server."""
    return lines()
