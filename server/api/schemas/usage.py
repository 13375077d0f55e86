"""What language models have used, as clients read it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, computed_field, model_validator

from server.api.schemas.pages import PageQuery
from storage.access.usage import By


class UsageQuery(PageQuery):
    """Which usage, added up by what."""

    first: date | None = Field(
        None,
        validation_alias=AliasChoices("from"),
        description="The first day, in UTC; unset: the first of this month.",
        examples=["2026-11-01"],
    )
    last: date | None = Field(
        None,
        validation_alias=AliasChoices("to"),
        description="The last day, in UTC; unset: today.",
        examples=["2026-11-30"],
    )
    by: By = Field("day", description="What an item adds up.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        first, last = self.days()
        if first > last:
            msg = f"`from` ({first}) must not be after `to` ({last})"
            raise ValueError(msg)
        return self

    def days(self) -> tuple[date, date]:
        """Return the first day and the last."""
        today = datetime.now(UTC).date()
        return self.first or min(today, self.last or today).replace(day=1), self.last or max(today, self.first or today)


class UsageOut(BaseModel):
    """What was used in one day, of one model, about one collection or by one subject."""

    model_config = ConfigDict(from_attributes=True)
    name: str = Field(
        description="The day, model, collection or subject; a collection's is empty where a call was about none.",
        examples=["2026-11-29"],
    )
    calls: int = Field(description="Calls of language models: an answer may take several.")
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float = Field(description="By the price table; calls whose price is not known cost nothing here.")
    unpriced_calls: int = Field(description="Calls whose price is not known.")
    estimated_calls: int = Field(description="Calls whose tokens are estimated, such as of streams that were cut.")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total_tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens
