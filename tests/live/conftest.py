"""Real processes, real sockets; no reactor in the test process."""

import pytest

from tests.live.harness import Process, gateway


@pytest.fixture(scope="session")
def origin():
    """The address of an origin server."""
    server = Process("tests.servers.origin")
    yield f"127.0.0.1:{server.address}"
    server.stop()


@pytest.fixture
def config(origin):
    """Make a configuration: one listener, everything to the origin."""

    def make(
        *,
        workers=2,
        listeners="- {name: public, address: '127.0.0.1:0'}",
        drain="5s",
        gateway="",
        upstream="",
        routes="",
    ):
        return f"""
gateway:
  workers: {workers}
  drain: {drain}
  {gateway}
admin:
  address: 127.0.0.1:0
access-log:
  path: "off"
listeners:
  {listeners}
upstreams:
  origin:
    endpoints: ["http://{origin}"]
    {upstream}
routes:
  {routes}
  - name: everything
    match: {{prefix: /}}
    auth: none
    target: {{proxy: {{upstream: origin}}}}
"""

    return make


@pytest.fixture
def gw(tmp_path):
    """A gateway, not started yet."""
    with gateway(tmp_path) as made:
        yield made
        print(made.log[-20_000:])  # shown if the test fails
