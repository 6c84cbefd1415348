"""
What a route's ``match`` means, compiled: hosts, paths, and conditions on header fields and query parameters.

`Pattern.of` turns a `MatchSpec` into values that compare equal when they take the same requests, or raises `PatternError`
with everything that is wrong with it. Paths in the file are brought to the spelling that `http/target.py` gives to requests,
so ``/café`` and ``/caf%c3%a9`` are the same path. Expressions are RE2's: matching takes linear time whatever a client sends.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from os.path import commonprefix
from typing import Any, Final

import attrs
import re2

from suuupra_gateway.config.model import MatchSpec
from suuupra_gateway.errors import BadRequest
from suuupra_gateway.http.target import normalise

_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(\*?)\}")
_UNPRINTABLE: Final = re.compile(rb"[^\x21-\x7e]")
_PROBE: Final = 256  # bytes of common beginning that are looked for in an expression
_MEMORY: Final = 1 << 20  # bytes that one expression's program and its lazy automaton may take


class PatternError(ValueError):
    """A ``match`` that means nothing."""

    def __init__(self, problems: Iterable[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        """``(key, why)`` for each thing that is wrong; keys as in the file."""
        super().__init__("; ".join(f"{key}: {why}" for key, why in self.problems))


@attrs.frozen
class Expression:
    """An RE2 expression for a whole value."""

    text: str
    _compiled: Any = attrs.field(eq=False, repr=False)
    """`re2` has no types."""

    @classmethod
    def of(cls, text: str) -> Expression:
        """:raises ValueError: not an RE2 expression (look-around and back-references are not: they cost exponential time)."""
        try:
            re2.compile(text.encode(), _options())  # by itself first, so that no parenthesis reaches out of the group
            return cls(text, re2.compile(rb"\A(?:%b)\z" % text.encode(), _options()))
        except re2.error as error:
            why = error.args[0]
            raise ValueError(f"not an RE2 expression: {why.decode() if isinstance(why, bytes) else why}") from None

    def accepts(self, value: bytes) -> bool:
        """Whether all of ``value`` matches. Bytes that are not UTF-8 match nothing."""
        return self._compiled.match(value) is not None

    @property
    def prefix(self) -> bytes:
        """What every matching value begins with, as far as RE2 can tell; often empty."""
        try:
            lowest, highest = self._compiled.possiblematchrange(_PROBE)
        except re2.error:
            return b""
        common: bytes = commonprefix([lowest, highest])  # noqa: RUF071  # byte by byte is what is meant
        return common


def _options() -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MEMORY
    return options


# -- hosts ------------------------------------------------------------------------------------------------------------


@attrs.frozen
class HostPattern:
    """A host, all hosts below a domain, or any."""

    name: bytes = b""
    """Lower-case host; of a wildcard the suffix with its leading dot; empty for any host."""

    @property
    def wildcard(self) -> bool:
        """Whether this takes the hosts below a domain, the domain itself not among them."""
        return self.name[:1] == b"."

    def accepts(self, host: bytes) -> bool:
        """Whether ``host`` (lower-case, no port) is meant."""
        name = self.name
        return not name or (len(host) > len(name) and host.endswith(name) if self.wildcard else host == name)

    def covers(self, other: HostPattern) -> bool:
        """Whether every host that ``other`` takes is taken by this one too."""
        name = self.name
        return not name or name == other.name or (self.wildcard and other.name.endswith(name))

    def __str__(self) -> str:
        return "*" * self.wildcard + self.name.decode()


# -- paths ------------------------------------------------------------------------------------------------------------


class Kind(enum.IntEnum):
    """How a path is described, in order of precedence."""

    EXACT = 0
    TEMPLATE = 1
    PREFIX = 2
    REGEX = 3
    ANY = 4


class Reach(enum.IntEnum):
    """How far a path may go on after the segments of its pattern."""

    END = 0
    """Not at all."""

    HERE = 1
    """As far as it likes."""

    BELOW = 2
    """By one segment or more, which may be empty: ``/v1/`` is ``v1`` and an empty segment."""

    ANYWHERE = 3
    """Not even a slash is needed: ``OPTIONS *``."""


@attrs.frozen
class PathPattern:
    """A set of paths: `segments`, then what `reach` says, and if there is a `regex`, it must match as well."""

    kind: Kind
    text: str = attrs.field(eq=False)
    """As in the file."""

    segments: tuple[bytes | None, ...] = ()
    """Normalised literals; None for a parameter, which is one segment that is not empty."""

    reach: Reach = Reach.END
    regex: Expression | None = None
    parameters: tuple[tuple[str, int], ...] = attrs.field(default=(), eq=False)
    """Name and place of each parameter; the place counts from 1, because paths begin with a slash."""

    rest: str = attrs.field(default="", eq=False)
    """Name of the parameter that takes the rest of the path."""

    def parse(self, path: bytes) -> dict[str, bytes] | None:
        """The values of the parameters in a ``path`` that matches; None if there are no parameters."""
        if self.kind is not Kind.TEMPLATE:
            return None
        segments = path.split(b"/", len(self.segments) + 1)  # what comes before the first slash, ours, and the rest
        found = {name: segments[place] for name, place in self.parameters}
        if self.rest:
            found[self.rest] = segments[-1] if len(segments) > len(self.segments) + 1 else b""
        return found

    def covers(self, other: PathPattern) -> bool:
        """Whether every path that ``other`` takes is surely taken by this one too; False when in doubt."""
        if self.regex is not None:
            if other.kind is Kind.EXACT:
                return self.regex.accepts(other.normalised)
            return self == other
        if self.reach is Reach.ANYWHERE:
            return True
        if other.reach is Reach.ANYWHERE:
            return False
        mine, theirs = self.segments, other.segments
        if len(mine) > len(theirs):
            return False
        for wanted, given in zip(mine, theirs, strict=False):
            if wanted != given and (wanted is not None or given == b""):
                return False
        if self.reach is Reach.END:
            return other.reach is Reach.END and len(mine) == len(theirs)
        if self.reach is Reach.BELOW:
            return len(mine) < len(theirs) or other.reach is Reach.BELOW
        return True

    @property
    def normalised(self) -> bytes:
        """The path itself, of an exact one."""
        return b"/" + b"/".join(segment for segment in self.segments if segment is not None)


def _path(text: str) -> PathPattern:
    segments: list[bytes | None] = []
    parameters: list[tuple[str, int]] = []
    rest = ""
    pieces = _pieces(text)
    for place, piece in enumerate(pieces, 1):
        parameter = _PARAMETER.fullmatch(piece)
        if parameter is None:
            if "{" in piece or "}" in piece:
                raise ValueError(f"a parameter is a whole segment, {{name}} or {{name*}}; found {piece!r}")
            segments.append(_literal(piece))
            continue
        name, star = parameter.groups()
        if any(name == known for known, _ in parameters):
            raise ValueError(f"the parameter {name} is there twice")
        if not star:
            segments.append(None)
            parameters.append((name, place))
        elif place < len(pieces):
            raise ValueError(f"{{{name}*}} takes the rest of the path and must come last")
        else:
            rest = name
    if not parameters and not rest:
        return PathPattern(Kind.EXACT, text, tuple(segments))
    # Every path has a first segment, so that /{rest*} is the same as the prefix /.
    reach = Reach.END if not rest else Reach.HERE if segments else Reach.BELOW
    return PathPattern(Kind.TEMPLATE, text, tuple(segments), reach, None, tuple(parameters), rest)


def _prefix(text: str) -> PathPattern:
    if "{" in text or "}" in text:
        raise ValueError("a prefix has no parameters; use path with a last segment {rest*}")
    segments = [_literal(piece) for piece in _pieces(text)]
    if segments[-1]:
        return PathPattern(Kind.PREFIX, text, tuple(segments), Reach.HERE)
    return PathPattern(Kind.PREFIX, text, tuple(segments[:-1]), Reach.BELOW)


def _regex(text: str) -> PathPattern:
    expression = Expression.of(text)
    # Every match is below the whole segments of the expression's literal beginning: there it hangs in the trie.
    prefix = expression.prefix
    slash, *segments = prefix.split(b"/")
    if slash:
        raise ValueError("this never matches, because paths begin with /")
    if not prefix.isascii():
        raise ValueError("this never matches, because paths are percent-encoded")
    if not segments:
        return PathPattern(Kind.REGEX, text, (), Reach.ANYWHERE, expression)
    return PathPattern(Kind.REGEX, text, tuple(segments[:-1]), Reach.BELOW, expression)


def _pieces(text: str) -> list[str]:
    return text.split("/")[1:]  # the model sees to it that paths begin with a slash


def _literal(piece: str) -> bytes:
    spelt = _UNPRINTABLE.sub(lambda found: b"%%%02X" % found[0][0], piece.encode())
    try:
        path = normalise(b"/" + spelt, merge_slashes=False)
    except BadRequest:
        path = b"/"
    if piece and path == b"/":
        raise ValueError(f"requests never have {piece!r} as a segment of their path")
    return path[1:]


# -- conditions -------------------------------------------------------------------------------------------------------


@attrs.frozen
class Condition:
    """What one header field or query parameter must be. Where it occurs more than once, one occurrence is enough."""

    name: bytes
    exact: bytes | None = None
    """The value; None if any value will do, or one that `regex` accepts."""

    regex: Expression | None = None

    @classmethod
    def of(cls, name: bytes, value: str) -> Condition:
        """:raises ValueError: the value begins with ``~`` and goes on with something that is not an RE2 expression."""
        if value == "*":
            return cls(name)
        if value.startswith("~"):
            return cls(name, None, Expression.of(value[1:]))
        return cls(name, value.encode())

    def accepts(self, value: bytes) -> bool:
        """Whether one occurrence's value will do."""
        if self.exact is not None:
            return value == self.exact
        return self.regex is None or self.regex.accepts(value)

    def follows_from(self, other: Condition) -> bool:
        """Whether whatever meets ``other`` surely meets this one."""
        if self.name != other.name:
            return False
        if self == other or (self.exact is None and self.regex is None):
            return True
        return self.regex is not None and other.exact is not None and self.regex.accepts(other.exact)

    def __str__(self) -> str:
        if self.exact is not None:
            return repr(self.exact.decode())
        return "*" if self.regex is None else f"~{self.regex.text}"


def _sorted(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    return tuple(sorted(set(conditions), key=lambda condition: (condition.name, str(condition))))


# -- all of it --------------------------------------------------------------------------------------------------------


@attrs.frozen
class Pattern:
    """All conditions of a route. Equal patterns take the same requests."""

    host: HostPattern
    path: PathPattern
    methods: frozenset[bytes]
    """HEAD among them if GET is; empty for any method."""

    headers: tuple[Condition, ...]
    """Names lower-case; sorted."""

    query: tuple[Condition, ...]
    """Names and values decoded; sorted."""

    @classmethod
    def of(cls, spec: MatchSpec) -> Pattern:
        """:raises PatternError: with everything that is wrong."""
        problems: list[tuple[str, str]] = []

        path = PathPattern(Kind.ANY, "", (), Reach.ANYWHERE)
        given = [(key, text) for key in _PATHS if (text := getattr(spec, key))]
        if len(given) > 1:
            problems.append((given[1][0], f"give only one of {', '.join(key for key, _ in given)}"))
        for key, text in given[:1]:
            try:
                path = _PATHS[key](text)
            except ValueError as error:
                problems.append((key, str(error)))

        methods = {method.encode() for method in spec.methods}
        if b"GET" in methods:
            methods.add(b"HEAD")

        headers = []
        for name, value in spec.headers:
            try:
                headers.append(Condition.of(name.lower().encode(), value))
            except ValueError as error:
                problems.append((f"headers.{name}", str(error)))

        query = []
        for name, value in spec.query:
            try:
                query.append(Condition.of(name.encode(), value))
            except ValueError as error:
                problems.append((f"query.{name}", str(error)))

        if problems:
            raise PatternError(problems)
        host = HostPattern(spec.host.removeprefix("*").encode())
        return cls(host, path, frozenset(methods), _sorted(headers), _sorted(query))


_PATHS: Final = {"path": _path, "prefix": _prefix, "regex": _regex}
