"""
Somebody with a browser that knows no JavaScript: follows redirects, keeps cookies, sends forms.
"""

from __future__ import annotations

import html
import http.client
import http.cookiejar
import re
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

PATIENCE = 60.0

NAVIGATION = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}
"""What browsers send when a person goes to a page."""


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        return None


class Page:
    """What came of a request."""

    def __init__(self, url: str, status: int, headers: http.client.HTTPMessage, body: bytes) -> None:
        self.url, self.status, self.headers = url, status, headers
        self.text = body.decode("utf-8", "replace")

    @property
    def location(self) -> str:
        """Where it redirects to, absolute."""
        return urllib.parse.urljoin(self.url, self.headers["Location"] or "")

    def form(self, **filled: str) -> tuple[str, dict[str, str]]:
        """Where its first form goes to, and all its fields."""
        found = re.search(r"<form\b([^>]*)>(.*?)</form>", self.text, re.S | re.I)
        assert found is not None, f"no form at {self.url}: {self.text[:500]}"
        fields = {}
        for tag in re.findall(r"<input\b[^>]*>", found[2], re.I):
            name, value = _attribute(tag, "name"), _attribute(tag, "value")
            if name:
                fields[name] = value
        action = _attribute(found[1], "action") or self.url
        return urllib.parse.urljoin(self.url, action), fields | filled


def _attribute(tag: str, name: str) -> str:
    found = re.search(rf"""\b{name}\s*=\s*("([^"]*)"|'([^']*)')""", tag, re.I)
    return html.unescape(found[2] or found[3] or "") if found else ""


class Visitor:
    """One person. Cookies stay as long as it lives."""

    def __init__(self) -> None:
        # Tests have no TLS: cookies that want it are sent to the loopback interface all the same, as browsers do.
        self.jar = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(secure_protocols=("http", "https")))
        self._opener = urllib.request.build_opener(
            _Stay(), urllib.request.HTTPCookieProcessor(self.jar), urllib.request.ProxyHandler({})
        )

    def ask(self, url: str, form: dict[str, str] | None = None, *, follow: int = 0, **headers: str) -> Page:
        """One request, as a person would make it, and up to ``follow`` redirects after it."""
        data = urllib.parse.urlencode(form).encode() if form is not None else None
        fields = {**NAVIGATION, **{name.replace("_", "-"): value for name, value in headers.items()}}
        request = urllib.request.Request(url, data, fields)
        try:
            with self._opener.open(request, timeout=PATIENCE) as answer:
                page = Page(url, answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            page = Page(url, error.code, error.headers, error.read())
            error.close()
        if follow and page.status in (301, 302, 303, 307, 308):
            return self.ask(page.location, follow=follow - 1)
        return page

    def log_in(self, url: str, name: str = "alice") -> Page:
        """Go to a page that asks for a login at the tests' provider, log in, and return what is seen in the end."""
        page = self.ask(url, follow=10)
        while page.status == 200 and "/interaction/" in page.url:
            action, fields = page.form()
            if "login" in fields:
                fields |= {"login": name, "password": "any"}
            page = self.ask(action, fields, follow=10)
        return page

    def cookies(self) -> dict[str, str]:
        """By name."""
        return {cookie.name: cookie.value or "" for cookie in self.jar}
