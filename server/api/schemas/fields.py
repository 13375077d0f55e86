"""Fields that several resources share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Header
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from storage.generation import NAME_PATTERN

IdempotencyKey = Annotated[
    str | None,
    Header(
        max_length=255,
        description="The same key with the same request gets the same answer, for a day; it joins one being written.",
        examples=["8e03978e-40d5-43dd-bc93-6894a57f9324"],
    ),
]


def without_nul(value: str) -> str:
    """Return a text that has no NUL character; raise `ValueError` for others."""
    if "\0" in value:
        msg = "must not contain a NUL character"
        raise ValueError(msg)
    return value


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        msg = "is no time of the years 1 to 9999 in UTC"
        raise ValueError(msg) from None


def _whole(value: object) -> object:
    return int(value) if type(value) is float and value.is_integer() else value


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Whole = BeforeValidator(_whole)  # JSON has one kind of number: 8.0 is 8
NO_NUL = r"^[^\x00]*$"
Text = Annotated[str, AfterValidator(without_nul)]
CollectionName = Annotated[str, Field(pattern=f"^{NAME_PATTERN}$", max_length=63, examples=["default"])]
DocumentId = Annotated[Text, Field(min_length=1, max_length=512, json_schema_extra={"pattern": NO_NUL})]
ConversationId = Annotated[Text, Field(min_length=1, max_length=64, json_schema_extra={"pattern": NO_NUL})]
Cursor = Annotated[Text, Field(max_length=2048, json_schema_extra={"pattern": NO_NUL})]
