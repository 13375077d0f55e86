"""As whom an evaluation asks: what it finds is what that one may read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from evaluation.errors import EvaluationRefused
from storage.caller import LOCAL, Caller, acting_as
from storage.reach import reaching

WANTED = '{"tenant": "public", "subject": "ada", "groups": ["eng"], "sees_all": false, "collections": null}'


class CallerFile(BaseModel):
    """A caller, as a file has it; `collections` are those that he reaches, null: all."""

    model_config = ConfigDict(strict=True, extra="forbid")
    tenant: str
    subject: str
    groups: list[str] = []
    sees_all: bool = False
    collections: list[str] | None = None


@contextmanager
def as_caller(path: Path | None) -> Iterator[None]:
    """Let the block ask as the caller that a file names; without one as everybody does where authentication is off.

    Raises:
        EvaluationRefused: the file cannot be read, or names no caller.

    """
    if path is None:
        with acting_as(LOCAL):
            yield
        return
    try:
        told = CallerFile.model_validate_json(path.read_bytes())
        caller = Caller(told.tenant, told.subject, tuple(told.groups), sees_all=told.sees_all)
    except (OSError, ValidationError, ValueError) as exc:
        msg = f"{path}: --caller wants a file with {WANTED}"
        raise EvaluationRefused(msg) from exc
    with acting_as(caller), reaching(None if told.collections is None else frozenset(told.collections)):
        yield
