"""
What listening and connecting must do on any reactor; run by `tests.net.drive`, asked for by `tests/contract/test_transport.py`.

Each public coroutine is a scenario. Peers are blocking sockets in threads, so that nothing is tested against itself.
"""

import inspect

from tests.net.scenarios import accepting, connecting, connecting_tls, producing, serving_tls, streaming

ALL = {
    name: thing
    for module in (accepting, streaming, producing, serving_tls, connecting, connecting_tls)
    for name, thing in vars(module).items()
    if inspect.iscoroutinefunction(thing) and thing.__module__ == module.__name__
}
"""Name of each scenario to its function."""


def names(kind):
    """The scenarios for a kind of reactor."""
    return [name for name, scenario in ALL.items() if kind in getattr(scenario, "kinds", (kind,))]
