"""
``python -m suuupra_gateway.quickstart``: the gateway with something behind it, in the foreground.

Starts two demo services and ``twistd -n suuupra-gateway --config etc/quickstart.yaml``, waits until ``/readyz`` says yes, and
prints what to try. Ctrl-C stops everything, the gateway first.
"""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from types import FrameType
from typing import Final

CONFIG: Final = pathlib.Path(__file__).resolve().parent.parent / "etc" / "quickstart.yaml"
ADDRESS: Final = "QUICKSTART_ADDRESS"
ADMIN: Final = "QUICKSTART_ADMIN"
SERVICES: Final = {"one": "QUICKSTART_ONE", "two": "QUICKSTART_TWO"}
"""What `CONFIG` takes from the environment: where to listen, and where the services are."""

_PATIENCE: Final = 60.0
_GRACE: Final = 15.0
_TWISTD: Final = "from twisted.scripts.twistd import run; run()"  # whatever `twistd` is first in PATH

_TRY: Final = """
The gateway serves http://{address}/ and tells about itself at http://{admin}/ . Some things to try:

  curl -i http://{address}/status                            # an answer of the gateway's own
  curl -i http://{address}/users/7                           # forwarded; the path is a template
  curl -i http://{address}/users/7 -H 'X-Beta: yes'          # the same path, another service by a header
  curl -s 'http://{address}/echo/a?b=c' -d hello             # what the service behind sees
  curl -s http://{address}/hello                             # one of two services, 80 to 20
  curl -sN http://{address}/stream                           # server-sent events, as they come
  curl -i http://{address}/flaky                             # fails every other time; the gateway tries again
  curl -i 'http://{address}/slow?seconds=5'                  # 504 after two seconds
  curl -T /etc/services http://{address}/upload              # a body, streamed
  curl -i http://{address}/nothing                           # a problem (RFC 9457)
  curl -s http://{admin}/metrics | grep suuupra_requests   # what was counted

  {command} explain GET http://{address}/users/7 -H 'X-Beta: yes' {config}

Ctrl-C stops it.
"""


class Failed(Exception):
    """It cannot be started; the message says why."""


class Quickstart:
    """The processes, the gateway last. Lives until `stop`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self.address = self._environ.setdefault(ADDRESS, "127.0.0.1:8080")
        self.admin = self._environ.setdefault(ADMIN, "127.0.0.1:9900")
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """
        Start everything and wait until requests are served.

        :raises Failed: if that does not happen.
        """
        for name, variable in SERVICES.items():
            self._environ[variable] = f"127.0.0.1:{self._service(name)}"
        gateway = self._spawn("-c", _TWISTD, "-n", "--pidfile=", "suuupra-gateway", "--config", str(CONFIG))
        limit = time.monotonic() + _PATIENCE
        while not self._ready():
            if gateway.poll() is not None:
                raise Failed(f"the gateway ended with status {gateway.returncode}")
            if time.monotonic() > limit:
                raise Failed(f"the gateway was not ready within {_PATIENCE:.0f} seconds")
            time.sleep(0.1)

    def wait(self) -> int:
        """Wait until the gateway ends; its exit status."""
        return self._processes[-1].wait()

    def stop(self) -> None:
        """End all processes: the gateway first, so that requests it still has are answered."""
        for process in reversed(self._processes):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(_GRACE)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self._processes.clear()

    def _service(self, name: str) -> int:
        process = self._spawn("-m", "suuupra_gateway.demo", "--name", name, stdout=subprocess.PIPE)
        assert process.stdout is not None
        line = process.stdout.readline()
        process.stdout.close()
        if not line.strip().isdigit():
            raise Failed(f"demo service {name} did not start")
        return int(line)

    def _spawn(self, *arguments: str, stdout: int | None = None) -> subprocess.Popen[bytes]:
        # A process group of its own: the terminal's Ctrl-C is for us, and we stop the others in order.
        process = subprocess.Popen(  # noqa: S603  # our own interpreter, our own arguments
            [sys.executable, *arguments], env=self._environ, stdin=subprocess.DEVNULL, stdout=stdout, process_group=0
        )
        self._processes.append(process)
        return process

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.admin}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def main() -> int:
    """Run until Ctrl-C or SIGTERM; the exit status."""
    if not CONFIG.exists():
        sys.stderr.write(f"{CONFIG} is missing: the quickstart runs from a checkout\n")
        return 1
    quickstart = Quickstart(os.environ)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        quickstart.start()
        command = pathlib.Path(sys.executable).with_name("suuupra-gateway")
        sys.stdout.write(
            _TRY.format(
                address=quickstart.address,
                admin=quickstart.admin,
                command=os.path.relpath(command),
                config=os.path.relpath(CONFIG),
            )
        )
        sys.stdout.flush()
        return quickstart.wait()
    except Failed as reason:
        sys.stderr.write(f"{reason}\n")
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        quickstart.stop()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
