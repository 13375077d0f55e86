"""API keys, as clients make and read them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, create_model

from config.settings import LimitSettings
from server.api.schemas.fields import CollectionName, Moment, Text, Whole
from server.api.schemas.pages import PageQuery
from server.auth.claims import NAME, is_name
from server.principal import SCOPES, Principal
from server.services.key_limits import NAMES
from server.services.keys import MadeKey, WantedKey
from storage.generation import NAME_PATTERN

MOST_LISTED = 100
DEFAULT_OVERLAP = 3600
MAX_OVERLAP = 30 * 24 * 3600


def _named(value: str) -> str:
    if not is_name(value, len(value)):
        msg = "must be one line, and neither begin nor end with a space"
        raise ValueError(msg)
    return value


def _known(value: str) -> str:
    if value not in SCOPES:
        msg = f"is no scope; there are {', '.join(SCOPES)}"
        raise ValueError(msg)
    return value


Name = Annotated[
    Text, Field(min_length=1, max_length=255, json_schema_extra={"pattern": f"^{NAME}$"}), AfterValidator(_named)
]
Tenant = Annotated[str, Field(pattern=f"^{NAME_PATTERN}$", max_length=63, examples=["public"])]
Scope = Annotated[
    str, Field(max_length=80, examples=["query"], json_schema_extra={"enum": [*SCOPES]}), AfterValidator(_known)
]


def _limit(name: str) -> Any:  # noqa: ANN401 (a field as pydantic takes it)
    return Annotated[LimitSettings.model_fields[name].annotation, Whole], LimitSettings.model_fields[name]


KeyLimits = create_model(
    "KeyLimits",
    __config__=ConfigDict(strict=True, extra="forbid"),
    __doc__="Limits of a key's own, in place of those that hold for all keys; null: none, whatever those say.",
    **{name: _limit(name) for name in NAMES},
)


class KeyLimitsBody(BaseModel):
    """Limits of a key's own from now on."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"limits": {"key_requests": 60, "key_usd_month": 20}}]}
    )
    limits: KeyLimits = Field(description="What is left out is what holds for all keys.")

    @property
    def own(self) -> dict[str, Any]:
        """Those that are named."""
        return named(self.limits)


def named(limits: BaseModel) -> dict[str, Any]:
    """Return the limits that are named, null ones too."""
    return limits.model_dump(exclude_unset=True)


class KeyBody(BaseModel):
    """A key to make."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"name": "help desk", "scopes": ["query", "documents:read"], "subject": "desk", "groups": ["support"]},
                {"name": "nightly upload", "scopes": ["documents:write"], "collections": ["handbook"]},
            ]
        },
    )
    name: Name = Field(description="What it is for.")
    scopes: list[Scope] = Field(min_length=1, max_length=MOST_LISTED, description="What it may do.")
    tenant: Tenant | None = Field(None, description="Unset: that of whoever asks.")
    subject: Name | None = Field(None, description="Whom it stands for; unset: whoever asks.")
    groups: list[Name] | None = Field(
        None, max_length=MOST_LISTED, description="Unset: those of whoever asks, none where `subject` is set."
    )
    collections: Annotated[list[CollectionName], Field(min_length=1, max_length=MOST_LISTED)] | None = Field(
        None, description="Those that exist for it; unset: all."
    )
    expires_at: Moment | None = Field(None, description="From when on it is refused; unset: never.")
    limits: KeyLimits | None = Field(
        None, description="Of its own; unset: those of whoever asks, else what holds for all keys."
    )

    def to_key(self) -> WantedKey:
        """Return the request as the service takes it."""
        return WantedKey(
            name=self.name,
            scopes=tuple(self.scopes),
            tenant=self.tenant,
            subject=self.subject,
            groups=None if self.groups is None else tuple(dict.fromkeys(self.groups)),
            collections=None if self.collections is None else tuple(dict.fromkeys(self.collections)),
            expires_at=self.expires_at,
            limits=None if self.limits is None else named(self.limits),
        )


class RotationBody(BaseModel):
    """How a key gets another secret."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"overlap_seconds": 86_400}]})
    overlap_seconds: Annotated[int, Field(ge=0, le=MAX_OVERLAP), Whole] = Field(
        DEFAULT_OVERLAP, description="How long the earlier secret is good yet; 0: not at all."
    )

    @property
    def overlap(self) -> timedelta:
        """The time."""
        return timedelta(seconds=self.overlap_seconds)


class KeysQuery(PageQuery):
    """Which keys."""

    tenant: Tenant | None = Field(None, description="Unset: that of whoever asks; another one's need `tenants`.")


class KeyOut(BaseModel):
    """A key, without its secret, which is stored nowhere."""

    model_config = ConfigDict(from_attributes=True)
    id: str = Field(examples=["k3v9q2m8x1zt"], description="The part of the key after `fn_`.")
    name: str
    tenant: str
    subject: str
    groups: list[str]
    scopes: list[str]
    collections: list[str] | None
    limits: dict[str, Any] = Field(description="Of its own; null: none.")
    expires_at: AwareDatetime | None
    created_at: AwareDatetime
    rotated_at: AwareDatetime | None
    previous_until: AwareDatetime | None = Field(description="Until when the secret before the rotation is good.")
    revoked_at: AwareDatetime | None
    last_used_at: AwareDatetime | None = Field(description="Within a minute or so.")


class MadeKeyOut(KeyOut):
    """A new key, or an old one with a new secret."""

    key: str = Field(description="The key itself. It is shown this once.")

    @classmethod
    def of(cls, made: MadeKey) -> Self:
        """Return what clients get."""
        return cls(**KeyOut.model_validate(made.key).model_dump(), key=str(made.text))


class MeOut(BaseModel):
    """Who asks."""

    tenant: str
    subject: str
    groups: list[str]
    scopes: list[str]
    collections: list[str] | None = Field(description="Those that exist for whoever asks; null: all.")
    key_id: str | None = Field(description="Of the API key; null: it is none.")
    limits: dict[str, object] = Field(description="Limits of whoever asks: requests a minute, quotas, budgets.")

    @classmethod
    def of(cls, who: Principal, *, limits: dict[str, object]) -> Self:
        """Return what clients get."""
        return cls(
            tenant=who.caller.tenant,
            subject=who.caller.subject,
            groups=list(who.caller.groups),
            scopes=sorted(who.scopes),
            collections=None if who.collections is None else sorted(who.collections),
            key_id=who.key_id,
            limits=limits,
        )
