"""
The parameters of a query string, for conditions on them; the string itself is forwarded untouched.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

Parameters = dict[bytes, list[bytes]]


def parameters_of(query: bytes | None) -> Parameters:
    """
    Names to values in order, decoded as HTML forms are encoded (``+`` is a space); escapes that are broken stay as they are.

    Practice: ``;`` separates nothing, as in the URL standard and in Python since CVE-2021-23336.
    """
    found: Parameters = {}
    if query:
        for pair in query.split(b"&"):
            if pair:
                name, _, value = pair.replace(b"+", b" ").partition(b"=")
                found.setdefault(unquote_to_bytes(name), []).append(unquote_to_bytes(value))
    return found
