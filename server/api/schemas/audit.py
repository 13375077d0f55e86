"""The audit record, as clients read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AliasChoices, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from server.api.schemas.fields import Moment, Text
from server.api.schemas.pages import PageQuery
from storage.audit.lines import AuditLine
from storage.audit.record import AuditFilter

MOMENT = "2026-11-29T08:00:00Z"


class AuditQuery(PageQuery):
    """Which lines."""

    since: Moment | None = Field(
        None, validation_alias=AliasChoices("from"), description="From then on.", examples=[MOMENT]
    )
    until: Moment | None = Field(
        None, validation_alias=AliasChoices("to"), description="Before that.", examples=[MOMENT]
    )
    action: Annotated[str, Field(pattern=r"^[a-z][a-z.]{0,60}$")] | None = Field(
        None, description="What was done, or how that begins.", examples=["key.create", "key."]
    )
    subject: Annotated[Text, Field(min_length=1, max_length=1024)] | None = Field(
        None, description="Who did it.", examples=["ada"]
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since and self.until and self.since > self.until:
            msg = "`from` must not be after `to`"
            raise ValueError(msg)
        return self

    def which(self) -> AuditFilter:
        """Return the filter."""
        return AuditFilter(self.since, self.until, self.action, self.subject)


class AuditOut(BaseModel):
    """What was done, or refused."""

    model_config = ConfigDict(from_attributes=True)
    id: UUID
    at: AwareDatetime
    tenant: str = Field(description="Whose record it is in.")
    subject: str = Field(description="Who did it.")
    actor_tenant: str = Field(description="The tenant of that subject: an operator may be of another one.")
    key: str | None = Field(description="The id of the API key that it was done with.")
    key_name: str | None = Field(None, description="That key's name today; null: it is gone, or not yours to know.")
    client: str | None = Field(description="The address that it came from; `command line (…)`; `worker`.")
    action: str = Field(examples=["key.create"])
    object: str = Field(examples=["key:0d2x4kq9vw1z"], description="What it was done to.")
    object_name: str | None = Field(
        None, description="Today's title of that document, or name of that key; null: it is gone, or not yours to know."
    )
    outcome: Literal["success", "failure", "denied"]
    request_id: str | None
    trace_id: str | None
    before: dict[str, Any] | None = Field(description="The state before; null: there was none, or none is told.")
    after: dict[str, Any] | None = Field(description="The state after.")

    @classmethod
    def of(cls, line: AuditLine, names: Mapping[str, str]) -> Self:
        """Return a line as clients read it, with the names of what it is about."""
        told = cls.model_validate(line)
        told.object_name, told.key_name = names.get(line.object), names.get(f"key:{line.key}")
        return told
