"""
Change the path and the query that the upstream sees.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Final
from urllib.parse import quote, unquote_to_bytes

import re2
from pydantic import AfterValidator, model_validator

from suuupra_gateway.config.model import Pairs, RouteSpec, Spec
from suuupra_gateway.filters.base import Filter, FilterKind, FilterSpec
from suuupra_gateway.hooks import Verdict
from suuupra_gateway.http.message import RequestHead
from suuupra_gateway.http.target import normalise
from suuupra_gateway.http.template import Template
from suuupra_gateway.interfaces import IExchange, IResidents

_PREFIX: Final = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)+")
_REPLACEMENT: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2}|\\[0-9]|\\g<\w+>)*")


def _path_template(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError("a path begins with /")
    if "?" in text or "#" in text:
        raise ValueError("a path ends before ? and #; use `query` for parameters")
    Template(text)
    return text


def _prefix(text: str) -> str:
    if not _PREFIX.fullmatch(text):
        raise ValueError("a prefix consists of whole segments: it begins with / and does not end with it")
    return text


def _query_names(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    for _, value in pairs:
        Template(_quoted_template(value))
    return pairs


def _quoted_template(value: str) -> str:
    """``value`` with everything but its placeholders escaped as a query demands."""
    return quote(value, safe="{}")


class RegexRewrite(Spec):
    """A replacement in the path, in linear time."""

    pattern: str
    """RE2 expression, searched anywhere in the path: anchor it with ``^`` and ``$``."""

    replace: str
    r"""What to put in place of every match; ``\1`` or ``\g<name>`` for a group."""

    @model_validator(mode="after")
    def _usable(self) -> RegexRewrite:
        if not _REPLACEMENT.fullmatch(self.replace):
            raise ValueError(f"replace {self.replace!r} holds what may not stand in a path")
        try:
            expression = _compiled(self.pattern)
        except re2.error as error:
            raise ValueError(f"pattern is not an RE2 expression: {_text(error)}") from error
        for reference in re.findall(r"\\([0-9])|\\g<(\w+)>", self.replace):
            group = reference[0] or reference[1]
            known = int(group) <= expression.groups if group.isdecimal() else group.encode() in expression.groupindex
            if not known:
                raise ValueError(f"replace speaks of group {group}, which pattern does not have")
        return self


class QueryEdits(Spec):
    """Changes of the query; parameters that are not named here pass byte for byte."""

    remove: tuple[str, ...] = ()
    """Parameters to drop."""

    set: Annotated[Pairs, AfterValidator(_query_names)] = ()
    """Parameters to have exactly once; values may hold ``{name}`` as `path` may."""


class RewriteSpec(FilterSpec):
    """What to change. Of the path: either all of it, or in the order strip-prefix, regex, add-prefix."""

    path: Annotated[str, AfterValidator(_path_template)] | None = None
    """The new path; ``{name}`` stands for a parameter of the route, ``{path}`` and ``{host}`` for the request's."""

    strip_prefix: Annotated[str, AfterValidator(_prefix)] | None = None
    """Whole segments to take from the front, if they are there; the upstream is told by ``X-Forwarded-Prefix``."""

    regex: RegexRewrite | None = None
    """A replacement in what is left."""

    add_prefix: Annotated[str, AfterValidator(_prefix)] | None = None
    """Whole segments to put in front."""

    query: QueryEdits = QueryEdits()
    """Changes of the query."""

    @model_validator(mode="after")
    def _one_way(self) -> RewriteSpec:
        parts = (self.strip_prefix, self.regex, self.add_prefix)
        if self.path is not None and any(part is not None for part in parts):
            raise ValueError("path replaces all of it: leave out strip-prefix, regex and add-prefix")
        if self.path is None and not any(part is not None for part in parts) and self.query == QueryEdits():
            raise ValueError("nothing to rewrite: give path, strip-prefix, regex, add-prefix or query")
        return self


class Rewrite(Filter[RewriteSpec]):
    """Rewrite ``head.path`` and ``head.query``; whatever comes out is normalised again."""

    on_error = "A path that cannot be made valid is refused with 400; the query cannot fail."

    def __init__(self, spec: RewriteSpec, residents: IResidents) -> None:
        super().__init__(spec, residents)
        self._path = Template(spec.path) if spec.path is not None else None
        self._strip = (spec.strip_prefix or "").encode("ascii")
        self._strip_slash = self._strip + b"/"
        self._expression = _compiled(spec.regex.pattern) if spec.regex is not None else None
        self._replacement = spec.regex.replace.encode("ascii") if spec.regex is not None else b""
        self._add = (spec.add_prefix or "").encode("ascii")
        self._query_set = tuple(
            (quote(name, safe="").encode("ascii"), Template(_quoted_template(value))) for name, value in spec.query.set
        )
        self._query_gone = frozenset(
            name.encode() for name in (*spec.query.remove, *(name for name, _ in spec.query.set))
        )

    def request(self, exchange: IExchange) -> Verdict:
        """
        Rewrite.

        :raises BadRequest: the new path climbs above the root.
        """
        head = exchange.head
        query = self._edited_query(head) if self._query_gone else head.query
        if self._path is not None:
            head.path = normalise(self._path.fill(head), merge_slashes=False)
        else:
            if self._strip:
                self._strip_from(head)
            if self._expression is not None:
                self._replace_in(head)
            if self._add:
                head.path = self._add + head.path
        head.query = query
        return None

    def _strip_from(self, head: RequestHead) -> None:
        if head.path.startswith(self._strip_slash) or head.path == self._strip:
            head.path = head.path[len(self._strip) :] or b"/"
            head.prefix += self._strip

    def _replace_in(self, head: RequestHead) -> None:
        assert self._expression is not None
        path = self._expression.sub(self._replacement, head.path)
        if path != head.path:
            head.path = normalise(path if path.startswith(b"/") else b"/" + path, merge_slashes=False)

    def _edited_query(self, head: RequestHead) -> bytes | None:
        kept = [part for part in (head.query or b"").split(b"&") if part and _name(part) not in self._query_gone]
        kept += [name + b"=" + _query_value(template, head) for name, template in self._query_set]
        return b"&".join(kept) or None

    def problems(self, route: RouteSpec, parameters: frozenset[str]) -> Iterable[str]:
        """Placeholders that no part of the route's match fills."""
        templates = [template for _, template in self._query_set]
        if self._path is not None:
            templates.append(self._path)
        for template in templates:
            for name in sorted(template.parameters - parameters):
                yield f"{{{name}}} in {template.text!r} is no parameter of this route's match"


def _query_value(template: Template, head: RequestHead) -> bytes:
    # What a path may hold as it is, a query may not: & would begin a new parameter, + would be read as a space.
    value = template.fill(head)
    return value.replace(b"&", b"%26").replace(b"+", b"%2B")


def _name(part: bytes) -> bytes:
    """The name of one ``name=value`` as an upstream would read it (form decoding)."""
    name = part.partition(b"=")[0]
    return unquote_to_bytes(name.replace(b"+", b" ")) if b"%" in name or b"+" in name else name


def _compiled(pattern: str) -> re2._Regexp:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern.encode(), options)


def _text(error: Exception) -> str:
    return b"".join(part for part in error.args if isinstance(part, bytes)).decode() or str(error)


kind = FilterKind("rewrite", RewriteSpec, Rewrite)
