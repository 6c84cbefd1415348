"""
Run scenarios on one kind of reactor: ``python -m tests.net.drive uvloop|asyncio|epoll MODULE [NAME…]``. The module has them by
name in ``ALL``, and in ``names(kind)`` those that a kind of reactor can play.

Prints one JSON object: name of the scenario to "ok" or a traceback. A scenario also fails if it leaves file descriptors or
timers behind, or if something unexpected was logged.
"""

import asyncio
import gc
import importlib
import json
import os
import sys
import tempfile
import traceback


def install(kind):
    if kind == "uvloop":
        from suuupra_gateway.net import reactor

        assert reactor.install() == "uvloop"
    elif kind == "asyncio":
        from twisted.internet import asyncioreactor

        asyncioreactor.install(asyncio.new_event_loop())
    else:
        from twisted.internet import epollreactor

        epollreactor.install()


def main(kind, module, names):
    install(kind)
    from twisted.internet import defer, reactor, task
    from twisted.logger import LogLevel, formatEvent, globalLogPublisher

    from tests.net import stage as stages

    scenarios = importlib.import_module(module)

    logged = []
    results = {}
    globalLogPublisher.addObserver(
        lambda event: event["log_level"] >= LogLevel.warn and logged.append(formatEvent(event))
    )

    def descriptors():
        gc.collect()
        # Not the directory that is being listed, nor those that libuv and Twisted keep for the process.
        return {fd: where for fd in os.listdir("/proc/self/fd") if (where := _link(fd)) and where.startswith("socket")}

    async def each():
        chosen = names or scenarios.names(kind)
        await task.deferLater(reactor, 0, lambda: None)
        with tempfile.TemporaryDirectory() as directory:
            stage = stages.Stage(reactor, kind, directory)
            for name in chosen:
                before = descriptors()
                logged.clear()
                try:
                    running = defer.Deferred.fromCoroutine(scenarios.ALL[name](stage))
                    running.addTimeout(30, reactor)
                    await running
                    await stage.clear()
                    for _ in range(50):
                        left = set(descriptors()) - set(before)
                        if not left:
                            break
                        await task.deferLater(reactor, 0.02, lambda: None)
                    assert not left, f"descriptors were left open: {left}"
                    timers = [call for call in reactor.getDelayedCalls() if call.active() and not stage.owns(call)]
                    assert len(timers) == 0, f"timers were left: {timers}"
                    unexpected = [text for text in logged if not any(word in text for word in stage.expected)]
                    assert not unexpected, unexpected
                    results[name] = "ok"
                except BaseException:
                    results[name] = traceback.format_exc()
                    await stage.clear()
                stage.expected.clear()

    def done(_):
        reactor.stop()

    reactor.callWhenRunning(lambda: defer.Deferred.fromCoroutine(each()).addBoth(_report).addBoth(done))
    reactor.run()
    print(json.dumps(results))


def _link(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def _report(result):
    if result is not None:
        result.printTraceback(file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
