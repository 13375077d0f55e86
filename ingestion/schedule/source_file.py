"""The file of scheduled sources, validated as untrusted input; errors name the line."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from ingestion.identity import OWN_KEYS
from ingestion.inputs.given import READERS
from ingestion.inputs.inputs import MAGIC, Inputs, excluding, is_url
from ingestion.schedule.strict_yaml import SourcesInvalid, at, compose, construct, invalid, line_of
from ingestion.types import Json
from storage.documents.readers import checked_readers
from storage.errors import InvalidReaders
from storage.generation import NAME_PATTERN

MAX_SOURCES = 10_000
_EVERY = re.compile(r"every (?:(\d{1,6}) ?)?(s|m|h|d|w|seconds?|minutes?|hours?|days?|weeks?)", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LONGEST = timedelta(days=3660)
_WHENEVER = datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC"))


def _strings(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _excludes(patterns: Sequence[str]) -> Sequence[str]:
    excluding(patterns)
    return patterns


def _plain(value: object) -> object:
    """Convert dates to strings, as in front matter, and reject numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, date):  # and datetime
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        msg = "NaN and infinity are no metadata"
        raise ValueError(msg)
    return value


def _readers(readers: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return checked_readers(readers)
    except InvalidReaders as exc:
        raise ValueError(str(exc)) from exc


def _free(metadata: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    if taken := sorted(OWN_KEYS & metadata.keys()):
        msg = f"{taken[0]!r} is Footnote's own; take another key"
        raise ValueError(msg)
    return metadata


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        msg = f"there is no time zone {name!r} on this machine; Europe/Berlin is one"
        raise ValueError(msg) from exc
    return name


Strings = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=4096)], ...], BeforeValidator(_strings)]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class SplitSettings(_Group):
    """The chunking of a new collection; see the settings of the group ``ingestion``."""

    tokens: Annotated[int, Field(ge=16, le=100_000)] | None = None
    overlap: Annotated[int, Field(ge=0, le=10_000)] | None = None


class Source(_Group):
    """A scheduled source: its inputs, collection and schedule.

    Attributes:
        schedule: a cron expression, or ``every 6h``; None: due on every run.
        timezone: of the cron expression.
        paths: files and folders, relative to the folder of the sources file.

    """

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
    collection: Annotated[str, Field(pattern=f"^{NAME_PATTERN}$")] = "default"
    path: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    paths: Strings = ()
    glob: Strings = ()
    url: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    urls: Strings = ()
    base: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    exclude: Annotated[Strings, AfterValidator(_excludes)] = ()
    schedule: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    metadata: Annotated[dict[str, JsonValue], BeforeValidator(_plain), AfterValidator(_free)] = Field({})
    readers: Annotated[Strings, AfterValidator(_readers)] | None = None
    sync: bool = False
    chunking: SplitSettings = SplitSettings()
    language: Annotated[str, Field(pattern=r"^[a-z_]{1,63}$")] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not (self.path or self.paths or self.glob or self.url or self.urls):
            msg = "one of path, paths, glob, url and urls is wanted"
            raise ValueError(msg)
        if self.sync and self.glob:
            msg = "sync needs path or paths: a glob does not say what else was there"
            raise ValueError(msg)
        for url in filter(None, (self.url, *self.urls)):
            if not is_url(url):
                msg = f"{url[:80]!r} is no URL: it begins with http:// or https://"
                raise ValueError(msg)
        for path in filter(None, (self.path, *self.paths)):
            if MAGIC & set(path) and not is_url(path):
                msg = f"{path[:80]!r} is a pattern; write it under glob"
                raise ValueError(msg)
        self.next_after(_WHENEVER)
        return self

    def next_after(self, moment: datetime) -> datetime:
        """Return when the source is due next.

        Raises:
            ValueError: the schedule is invalid or never due.

        """
        if self.schedule is None:
            return moment
        if match := _EVERY.fullmatch(self.schedule.strip()):
            period = timedelta(seconds=int(match[1] or 1) * _SECONDS[match[2][0].lower()])
            if not timedelta(0) < period <= _LONGEST:
                msg = f"{self.schedule!r} is no period; every 6h is one"
                raise ValueError(msg)
            return moment + period
        try:
            return next(CronSim(self.schedule, moment.astimezone(ZoneInfo(self.timezone))))
        except CronSimError as exc:
            msg = f"{self.schedule!r} is neither a cron expression ({exc}) nor a period such as every 6h"
            raise ValueError(msg) from exc
        except StopIteration:
            msg = f"{self.schedule!r} never comes"
            raise ValueError(msg) from None

    def inputs(self, folder: Path) -> Inputs:
        """Return the inputs; paths are relative to `folder`."""
        files = [*filter(None, [self.path]), *self.paths, *self.glob]
        return Inputs(
            self.collection,
            [
                *(path if is_url(path) else _below(folder, path) for path in files),
                *filter(None, [self.url]),
                *self.urls,
            ],
            base=Path(_below(folder, self.base)) if self.base else None,
            metadata=_json(self.metadata) | ({} if self.readers is None else {READERS: list(self.readers)}),
            exclude=self.exclude,
        )

    @property
    def definition(self) -> str:
        """A hash of the source's definition."""
        told = self.model_dump_json(exclude={"readers"} if self.readers is None else None)
        return hashlib.sha256(told.encode()).hexdigest()[:32]


class _SourceFile(_Group):
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class SourceList:
    """The sources of a file, and its folder."""

    folder: Path
    sources: Sequence[Source]


def read_sources(path: Path) -> SourceList:
    """Read a file of sources.

    Raises:
        SourcesInvalid: it cannot be read or is invalid; the message names the line.

    """
    node = compose(path)
    try:
        listed = _SourceFile.model_validate(construct(node, path))
    except ValidationError as exc:
        raise _told(path, node, exc) from None
    if not 0 < len(listed.sources) <= MAX_SOURCES:
        raise invalid(path, f"it lists {len(listed.sources)} sources; 1 to {MAX_SOURCES} are wanted")
    seen: dict[tuple[str, str], int] = {}
    for number, source in enumerate(listed.sources):
        if seen.setdefault((source.collection, source.name), number) != number:
            msg = f"there are two sources {source.name!r} of collection {source.collection!r}"
            raise invalid(path, msg, line=line_of(node, ("sources", number)))
    return SourceList(path.parent.absolute(), listed.sources)


def _told(path: Path, node: yaml.Node, error: ValidationError) -> SourcesInvalid:
    first = error.errors(include_input=False, include_url=False)[0]
    place = first["loc"]
    where = ""
    if len(place) > 1 and isinstance(place[1], int):
        where = f"source {_name(node, place[1])}, "
    inner = ".".join(str(part) for part in place[2 if where else 0 :])
    reason = first["msg"].removeprefix("Value error, ")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    shown = f"{where}{inner}: {reason}" if inner else f"{where or 'it: '}{reason}"
    return invalid(path, f"{shown}{more}", line=line_of(node, place))


def _name(node: yaml.Node, number: int) -> str:
    """Return a source's name if it has a valid one, else its position."""
    entry = at(at(node, "sources"), number)
    name = at(entry, "name") if entry is not None else None
    return repr(name.value[:100]) if isinstance(name, yaml.ScalarNode) else str(number + 1)


def _below(folder: Path, path: str) -> str:
    return str(folder / Path(path).expanduser())


def _json(metadata: Mapping[str, Any]) -> dict[str, Json]:
    copied: dict[str, Json] = json.loads(json.dumps(metadata))
    return copied
