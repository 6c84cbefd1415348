"""Installing the reactor; each in a process of its own, because there can be only one."""

import subprocess
import sys


def run(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def test_uvloop_is_under_twisted():
    assert run(
        "from suuupra_gateway.net.reactor import install, loop_of\n"
        "print(install())\n"
        "from twisted.internet import reactor\n"
        "print(type(reactor).__name__, type(loop_of(reactor)).__module__)\n"
    ) == ["uvloop", "AsyncioSelectorReactor", "uvloop"]


def test_the_loop_runs_with_the_reactor():
    assert run(
        "from suuupra_gateway.net.reactor import install, loop_of\n"
        "install()\n"
        "from twisted.internet import reactor\n"
        "loop_of(reactor).call_later(0.01, print, 'ran')\n"
        "loop_of(reactor).call_later(0.02, reactor.stop)\n"
        "reactor.run()\n"
    ) == ["ran"]


def test_without_uvloop_the_default_reactor_serves():
    assert run(
        "import sys; sys.modules['uvloop'] = None\n"
        "from suuupra_gateway.net.reactor import install, loop_of\n"
        "print(install())\n"
        "from twisted.internet import reactor\n"
        "print(loop_of(reactor))\n"
    ) == ["default", "None"]


def test_what_nobody_caught_is_logged():
    words = run(
        "from suuupra_gateway.net.reactor import install, loop_of\n"
        "install()\n"
        "from twisted.internet import reactor\n"
        "from twisted.logger import globalLogPublisher, formatEvent\n"
        "def note(event):\n"
        "    failure = event.get('log_failure')\n"
        "    if event['log_namespace'].startswith('suuupra'):\n"
        "        print(formatEvent(event), failure and failure.type.__name__)\n"
        "globalLogPublisher.addObserver(note)\n"
        "loop = loop_of(reactor)\n"
        "loop.call_soon(lambda: 1 / 0)\n"
        "loop.call_soon(loop.call_exception_handler, {'message': 'odd'})\n"
        "loop.call_soon(loop.call_exception_handler, {})\n"
        "loop.call_later(0.02, reactor.stop)\n"
        "reactor.run()\n"
    )
    text = " ".join(words)
    assert "ZeroDivisionError" in text
    assert text.endswith("odd None Unhandled in the event loop None")


def test_too_late_is_an_error():
    assert run(
        "from suuupra_gateway.net.reactor import install\n"
        "from twisted.internet import reactor, error\n"
        "try:\n    install()\n"
        "except error.ReactorAlreadyInstalledError:\n    print('late')\n"
    ) == ["late"]


def test_nothing_here_imports_a_reactor():
    modules = [
        "address",
        "endpoints",
        "networks",
        "ports",
        "proxyproto",
        "reactor",
        "sweep",
        "tls",
        "tlslayer",
        "transport",
    ]
    imports = "; ".join(f"import suuupra_gateway.net.{module}" for module in modules)
    assert run(f"import sys; {imports}; print('twisted.internet.reactor' in sys.modules)") == ["False"]
