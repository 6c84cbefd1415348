"""
The few pages that a login shows to people. No scripts, nothing from elsewhere, nothing of the request but what was escaped.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Final

from suuupra_gateway.auth.returning import origin_of
from suuupra_gateway.http.grammar import prefers_html
from suuupra_gateway.http.message import Pair, Reply, RequestHead

_STYLE: Final = """\
:root{color-scheme:light dark;--ink:#1c2330;--soft:#5a6475;--paper:#f4f5f7;--card:#fff;--line:#dfe3e8;--main:#1f5fbf;--on:#fff}
@media (prefers-color-scheme:dark){:root{--ink:#e8ebf0;--soft:#a3adbb;--paper:#12161d;--card:#1b212b;--line:#2d3541;\
--main:#7fb0ff;--on:#0c1626}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--paper);color:var(--ink);\
font:1rem/1.5 system-ui,sans-serif}
main{width:100%;max-width:26rem;padding:2rem;background:var(--card);border:1px solid var(--line);border-radius:.75rem}
h1{margin:0 0 .5rem;font-size:1.375rem;line-height:1.25}
p{margin:0 0 1.5rem;color:var(--soft)}
form,nav{display:flex;flex-wrap:wrap;gap:.75rem;align-items:center}
button,a.main{padding:.625rem 1.25rem;border:0;border-radius:.5rem;background:var(--main);color:var(--on);font:inherit;\
font-weight:600;text-decoration:none;cursor:pointer}
a.other{padding:.625rem .25rem;color:var(--main)}
button:focus-visible,a:focus-visible{outline:3px solid var(--main);outline-offset:2px}
small{display:block;margin-top:1.5rem;color:var(--soft);font-size:.8125rem}
"""

_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_PAGE: Final = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">'
    "<title>{title}</title><style>{style}</style></head>"
    "<body><main><h1>{title}</h1><p>{text}</p>{rest}</main></body></html>\n"
)

PRIVATE: Final[tuple[Pair, ...]] = (
    (b"cache-control", b"no-store"),
    # same-origin, as without any referrer browsers send forms with the origin "null".
    (b"referrer-policy", b"same-origin"),
)
"""On all that a login answers: it is for one browser, and URLs hold codes."""


def _page(
    status: int, title: str, text: str, rest: str, fields: tuple[Pair, ...], forms: tuple[str, ...] = ()
) -> Reply:
    body = _PAGE.format(title=escape(title), text=escape(text), rest=rest, style=_STYLE)
    # Browsers hold redirects after a form to form-action too.
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'; "
        f"form-action {' '.join(forms) if forms else chr(39) + 'none' + chr(39)}"
    )
    headers = (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", policy.encode("ascii")),
        (b"x-content-type-options", b"nosniff"),
        *PRIVATE,
        *fields,
    )
    return Reply(status, headers, body.encode())


def ask_logout(action: str, csrf: bytes, then: tuple[str, ...]) -> Reply:
    """
    Asks whether to log out.

    :param action: the path to which the form goes.
    :param then: URLs to which browsers may be sent after that.
    """
    forms = ["'self'"]
    for url in then:
        origin = origin_of(url)
        if origin is not None and origin not in forms:
            forms.append(origin)
    rest = (
        f'<form method="post" action="{escape(action)}">'
        f'<input type="hidden" name="csrf" value="{escape(csrf.decode("ascii"))}">'
        '<button type="submit" autofocus>Log out</button><a class="other" href="/">Stay logged in</a></form>'
    )
    return _page(200, "Log out?", "You will have to log in again to go on.", rest, (), tuple(forms))


def logged_out(fields: tuple[Pair, ...] = ()) -> Reply:
    """Says that there is no session."""
    rest = '<nav><a class="main" href="/">Go to the start page</a></nav>'
    return _page(200, "You are logged out", "There is no session in this browser.", rest, fields)


def failed(
    head: RequestHead,
    status: int,
    code: str,
    title: str,
    text: str,
    *,
    again: str = "",
    fields: tuple[Pair, ...] = (),
    retry_after: float | None = None,
) -> Reply:
    """
    Says what went wrong: a page for people, a problem for programs.

    :param code: a stable name, shown too.
    :param again: a safe place where another attempt begins; empty for none.
    """
    if retry_after is not None:
        fields = (*fields, (b"retry-after", b"%d" % max(1, round(retry_after))))
    if not prefers_html(head.get(b"accept")):
        return Reply.problem(status, code=code, title=title, detail=text, headers=(*PRIVATE, *fields))
    links = f'<a class="main" href="{escape(again)}">Try again</a>' if again else ""
    links += f'<a class="{"other" if again else "main"}" href="/">Go to the start page</a>'
    page = _page(status, title, text, f"<nav>{links}</nav><small>{escape(code)}</small>", fields)
    return Reply(page.status, (*page.headers, (b"x-gateway-error", code.encode("ascii"))), page.body)
