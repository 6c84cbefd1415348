"""
From a document to a checked configuration, or to everything that is wrong with it.

`decode` does it in one go; `decoding` yields after every route, for a process that has other things to do meanwhile.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Protocol, get_args, get_origin

from pydantic import Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from suuupra_gateway.config import checks
from suuupra_gateway.config.findings import ConfigError, ConfigErrors, Finding, Loc, Mark
from suuupra_gateway.config.model import AdminSpec, FilterEntry, GatewayConfig, IdentitySpec, ProcessSpec, RouteSpec
from suuupra_gateway.config.parts import Parts
from suuupra_gateway.config.source import SOURCE, Document
from suuupra_gateway.config.spec import BASE, Named, Spec
from suuupra_gateway.config.units import SECRETS
from suuupra_gateway.config.wording import findings

__all__ = [
    "ConfigError",
    "ConfigErrors",
    "Finding",
    "Kinds",
    "Mark",
    "decode",
    "decoding",
    "gateway_model",
]


_ATTEMPTS = 4
"""How often the rest of something is tried; a filter without its only key, say, is itself left out the second time."""


_BY_NAME = tuple(
    str(field.alias)
    for field in IdentitySpec.model_fields.values()
    if any(isinstance(mark, Named) for mark in field.metadata)
)
"""Keys of ``identity`` that hold things by name."""


class HasSpec(Protocol):
    """A kind of filter, as the catalogue of filters knows it."""

    @property
    def spec(self) -> type[Spec]:
        """What it is configured by."""


Kinds = Mapping[str, type[Spec]] | Mapping[str, HasSpec]
"""Kinds of filters by name: their specs, or things that have one."""


def gateway_model(kinds: Kinds) -> type[GatewayConfig]:
    """
    The model of a configuration whose filters are of these kinds.

    With it the places of errors, the reference and the JSON Schema are exact inside filters too. Cached: the same kinds
    give the same class.
    """
    pairs = ((name, kind if isinstance(kind, type) else kind.spec) for name, kind in kinds.items())
    return _model(tuple(sorted(pairs, key=lambda pair: pair[0])))


@lru_cache(maxsize=8)
def _model(kinds: tuple[tuple[str, type[Spec]], ...]) -> type[GatewayConfig]:
    fields: dict[str, Any] = {
        f"kind_{name.replace('-', '_')}": (spec | None, Field(default=None, alias=name, description=_about(spec)))
        for name, spec in kinds
    }
    entry = create_model(
        "FilterEntry", __base__=FilterEntry, __doc__="One filter: exactly one key, its kind.", **fields
    )
    filters: Any = (tuple[entry, ...], RouteSpec.model_fields["filters"])
    route = create_model("RouteSpec", __base__=RouteSpec, __doc__=RouteSpec.__doc__, filters=filters)
    routes: Any = (tuple[route, ...], GatewayConfig.model_fields["routes"])
    return create_model("GatewayConfig", __base__=GatewayConfig, __doc__=GatewayConfig.__doc__, routes=routes)


def _about(spec: type[Spec]) -> str:
    return (spec.__doc__ or "").strip().partition("\n\n")[0]


def decode(document: Document, kinds: Kinds) -> GatewayConfig:
    """
    The configuration that a document describes.

    :raises ConfigErrors: with everything that is wrong with it, including what was wrong with its files.
    """
    steps = decoding(document, kinds)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            found: GatewayConfig = done.value
            return found


def decoding(document: Document, kinds: Kinds) -> Generator[None, None, GatewayConfig]:
    """As `decode`, in steps of well under a millisecond: one for each thing in a section, one for each route's checks."""
    model = gateway_model(kinds)
    reading = _Reading(document)
    for field in model.model_fields.values():
        yield from reading.section(field)
    config = reading.whole(model)
    parts = reading.parts(config)
    for check in checks.WHOLE:
        reading.doubt(check(parts))
        yield
    for index, route in parts.routes.items():
        for inspect in checks.ROUTE:
            reading.doubt(inspect(parts, index, route))
        yield
    if reading.found or document.errors or config is None:
        raise ConfigErrors.at(document, reading.found, document.errors)
    return config


class _Reading:
    """The state of one `decoding`: each part is validated on its own, so that the sound ones can be checked further."""

    __slots__ = ("document", "found", "values", "sound", "failed", "left_out", "context")

    def __init__(self, document: Document) -> None:
        self.document = document
        self.found: list[Finding] = []
        self.values: dict[str, Any] = {key: value for key, value in document.tree.items() if key != SOURCE}
        """What becomes the whole: sections that were validated already in place of what was written."""

        self.sound: dict[str, Any] = {}
        """By section: its spec; or for lists and mappings, specs by place or name."""

        self.failed: set[str] = set()
        """Sections of which not all is sound."""

        self.left_out: list[tuple[Loc, bool]] = []
        """Paths of values that are wrong, and whether it is only that there is no such key."""

        self.context = {BASE: document.base, SECRETS: document.secrets}

    def section(self, field: FieldInfo) -> Generator[None, None, None]:
        """Validate one section, or each thing in it if it holds several."""
        key = str(field.alias)
        written = self.values.get(key)
        spec, several = _element(field)
        if spec is None or key not in self.values or (several is not None and not isinstance(written, several)):
            return
        if several is None:
            valid = self._valid(spec, written, (key,))
            self.sound[key] = self.values[key] = valid
            if valid is None:
                del self.values[key]
            yield
            return
        sound: dict[Any, Spec] = {}
        items: Iterable[tuple[Any, Any]] = written.items() if isinstance(written, dict) else enumerate(written or ())
        for place, value in items:
            valid = self._valid(spec, value, (key, place))
            if valid is not None:
                sound[place] = valid
            yield
        self.sound[key] = sound
        self.values[key] = sound if several is dict else tuple(sound.values())

    def _valid(self, spec: type[Spec], value: Any, loc: Loc) -> Spec | None:
        """
        The spec that ``value`` at ``loc`` makes. If something is wrong with it, then the one that the rest of it makes:
        what is wrong inside must not hide what is wrong between this and other things.
        """
        for attempt in range(_ATTEMPTS):
            try:
                return spec.model_validate(value, context=self.context, by_alias=True, by_name=False)
            except ValidationError as error:
                found = list(findings(error.errors(include_url=False), spec, loc, self.document))
            if not attempt:
                self.found += found
                self.failed.add(str(loc[0]))
            wrong = [finding.loc[len(loc) :] for finding in found]
            if () in wrong:
                return None
            value = _without(value, wrong)
            self.left_out += [(_listed(finding.loc), finding.key) for finding in found]
        return None

    def doubt(self, found: Iterable[Finding]) -> None:
        """Take what checks found, except where it may only follow from what was left out."""
        for finding in found:
            for loc, key in self.left_out:
                near = min(len(loc), len(finding.loc))
                beside = not key and len(loc) > 3 and loc[:-1] == finding.loc[:-1]
                if beside or loc[:near] == finding.loc[:near]:
                    break
            else:
                self.found.append(finding)

    def whole(self, model: type[GatewayConfig]) -> GatewayConfig | None:
        """Put the sections together; this finds unknown and missing ones, and those that are no lists or mappings."""
        try:
            return model.model_validate(self.values, context=self.context, by_alias=True, by_name=False)
        except ValidationError as error:
            errors = [one for one in error.errors(include_url=False) if not self._follows(one["loc"], one["type"])]
            self.found += findings(errors, model, (), self.document)
            return None

    def _follows(self, loc: tuple[int | str, ...], kind: str) -> bool:
        """Whether an error only says that what is unsound was left out."""
        return len(loc) == 1 and loc[0] in self.failed and kind in ("too_short", "missing")

    def parts(self, config: GatewayConfig | None) -> Parts:
        """What checks go by."""
        tree, sound = self.document.tree, self.sound
        written, routes, identity = tree.get("upstreams"), tree.get("routes"), tree.get("identity")
        names: dict[str, int] = {}
        for index, route in enumerate(routes if isinstance(routes, list) else ()):
            if isinstance(route, dict) and isinstance(route.get("name"), str):
                names.setdefault(route["name"], index)
        return Parts(
            gateway=sound.get("gateway", ProcessSpec()),
            admin=sound.get("admin", AdminSpec()),
            access_log=sound.get("access-log"),
            identity=sound.get("identity", IdentitySpec()),
            plugins=config.plugins if config is not None else (),
            listeners=sound.get("listeners", {}),
            upstreams=sound.get("upstreams", {}),
            routes=sound.get("routes", {}),
            upstream_names=tuple(written) if isinstance(written, dict) else (),
            route_names=names,
            identity_names={
                key: tuple(things) if isinstance(things, dict) and key in _BY_NAME else ()
                for key, things in (identity if isinstance(identity, dict) else {}).items()
            },
        )


def _element(field: FieldInfo) -> tuple[type[Spec] | None, type[list[Any]] | type[dict[str, Any]] | None]:
    """The spec that a section is, or that each thing in it is; and for the latter, what holds them in files."""
    for mark in field.metadata:
        if isinstance(mark, Named):
            return mark.spec, dict
    if isinstance(field.annotation, type) and issubclass(field.annotation, Spec):
        return field.annotation, None
    found = get_args(field.annotation) if get_origin(field.annotation) is tuple else ()
    if len(found) == 2 and found[1] is ... and isinstance(found[0], type) and issubclass(found[0], Spec):
        return found[0], list
    return None, None


def _without(value: Any, wrong: Iterable[Loc]) -> Any:
    """A copy of a value without what stands at the paths ``wrong`` inside it, none of which is empty."""
    inside: dict[str | int, list[Loc]] = {}
    for path in wrong:
        inside.setdefault(path[0], []).append(path[1:])

    def kept(items: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
        for step, one in items:
            paths = inside.get(step)
            if paths is None:
                yield step, one
            elif () not in paths:
                yield step, _without(one, paths)

    if isinstance(value, dict):
        return dict(kept(value.items()))
    return [one for _, one in kept(enumerate(value))]


def _listed(loc: Loc) -> Loc:
    """The list, if something in it is meant: without that the places of the others are not what they were."""
    while isinstance(loc[-1], int):
        loc = loc[:-1]
    return loc
