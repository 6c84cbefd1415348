"""
Chromium, driven over its DevTools protocol: what a person with a browser would see and do.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

PATIENCE = 60.0


class Browser:
    """One browser with a profile of its own; ``close`` it, or use it in a ``with``."""

    def __init__(self, *, width: int = 1280, height: int = 900) -> None:
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        assert program is not None, "these tests need a browser: apt-get install chromium"
        self._profile = tempfile.TemporaryDirectory(prefix="suuupra-browser-", ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [
                program,
                "--headless=new",
                "--no-sandbox",  # tests run as root in containers, and load only their own pages
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--remote-debugging-port=0",
                f"--user-data-dir={self._profile.name}",
                f"--window-size={width},{height}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._open = contextlib.ExitStack()
        self._socket: ClientConnection | None = None
        self._number = 0
        port = Path(self._profile.name) / "DevToolsActivePort"
        end = time.monotonic() + PATIENCE
        while not port.exists() or len(port.read_text().splitlines()) < 2:
            assert time.monotonic() < end, "the browser did not start"
            time.sleep(0.05)
        number, path = port.read_text().splitlines()[:2]
        self._socket = self._open.enter_context(connect(f"ws://127.0.0.1:{number}{path}", max_size=None, proxy=None))
        target = self._tell("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._tell("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        self.tell("Page.enable")
        self.tell("Network.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._open.close()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._profile.cleanup()

    # -- what one does ------------------------------------------------------------------------------------------------

    def open(self, url: str) -> None:
        """Go to ``url`` and wait until its page, after all redirects, has loaded."""
        self.evaluate("window.__before = true")
        self.tell("Page.navigate", {"url": url})
        self.wait("!window.__before && document.readyState === 'complete'", f"{url} to load")

    def fill(self, selector: str, text: str) -> None:
        """Write into a field of a form."""
        self.wait(f"document.querySelector({json.dumps(selector)}) !== null", selector)
        self.evaluate(f"document.querySelector({json.dumps(selector)}).value = {json.dumps(text)}")

    def click(self, selector: str) -> None:
        """Click, and wait until the page that this leads to has loaded."""
        self.wait(f"document.querySelector({json.dumps(selector)}) !== null", selector)
        self.evaluate("window.__before = true")
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")
        self.wait("!window.__before && document.readyState === 'complete'", f"what {selector} leads to")

    def resize(self, width: int, height: int) -> None:
        """Give the page this many CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.tell("Emulation.setDeviceMetricsOverride", size)

    def prefer(self, scheme: str) -> None:
        """``dark`` or ``light``."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.tell("Emulation.setEmulatedMedia", {"features": [feature]})

    # -- what one sees ------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it is."""
        address: str = self.evaluate("location.href")
        return address

    @property
    def text(self) -> str:
        """What the page says."""
        words: str = self.evaluate("document.body ? document.body.innerText : ''")
        return words

    def cookies(self) -> dict[str, dict[str, Any]]:
        """All cookies, by name."""
        return {cookie["name"]: cookie for cookie in self.tell("Storage.getCookies")["cookies"]}

    def forget(self) -> None:
        """Delete all cookies."""
        self.tell("Storage.clearCookies")

    def wait(self, condition: str, why: str) -> None:
        """Wait until a JavaScript expression holds."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                if self.evaluate(condition):
                    return
            except RuntimeError:
                pass  # between two pages there is nothing to evaluate in
            assert time.monotonic() < end, f"waited for {why}; at {self.url}: {self.text[:500]}"
            time.sleep(0.05)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are awaited. :raises RuntimeError: it threw."""
        options = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        answer = self.tell("Runtime.evaluate", options)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def picture(self, path: Path) -> None:
        """Write what is seen to a PNG file."""
        path.write_bytes(base64.b64decode(self.tell("Page.captureScreenshot", {"format": "png"})["data"]))

    # -----------------------------------------------------------------------------------------------------------------

    def tell(self, method: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        """One DevTools command to the page."""
        return self._tell(method, parameters or {}, sessionId=self._session)

    def _tell(self, method: str, parameters: dict[str, Any], **more: str) -> dict[str, Any]:
        assert self._socket is not None
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters, **more}))
        while True:
            answer = json.loads(self._socket.recv(PATIENCE))
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
