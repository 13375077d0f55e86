"""What the HTTP layer needs of the rest of the server; `server.runtime` provides it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from config.settings import Settings
from config.telemetry.setup import Telemetry
from server.answers import Answer, Event, Question, Retrieved, Turn
from server.audit.refusals import Refusals
from server.auth.authenticator import Authenticator
from server.limits.opening import OpenLimits
from server.peers.member import Member
from server.services.collections import Activated, NewCollection
from server.services.conversations import Conversations
from server.services.documents import Content, NewVersion, Submitted
from server.services.embeddings import Embedded
from server.services.evidence import EvidenceRecord
from server.services.idempotency import Idempotency
from server.services.jobs import JobWatchers
from server.services.keys import KeyService
from server.services.page_pictures import PagePictures
from server.services.quality import Evaluations, Golden
from server.services.suggestions import Suggestions
from server.services.tenants import TenantService
from server.streams.streams import Streams
from server.uploads.multipart import Uploads
from storage.audit.record import AuditRecord
from storage.chat.feedback import FeedbackStore
from storage.collections.collections import CollectionInfo, Collections
from storage.collections.generations import GenerationInfo
from storage.cursors import Page
from storage.documents.catalog import DocumentCatalog
from storage.documents.readers import DocumentReaders
from storage.documents.text import DocumentTexts
from storage.jobs.jobs import JobStore


class Answers(Protocol):
    """Questions in, cited answers out. Every method raises `FootnoteError`."""

    async def ask(self, question: Question, /) -> Answer:
        """Answer a question; cancelling the call cancels the model's."""
        ...

    def stream(self, question: Question, /) -> AsyncIterator[Event]:
        """Answer piece by piece: an async generator of `Sources`, `Token`s and `Done`; ``aclose()`` cancels."""
        ...

    def chat(self, turn: Turn, /) -> AsyncIterator[Event]:
        """Answer within a conversation that the caller keeps; as `stream` does."""
        ...

    def direct(self, turn: Turn, /) -> AsyncIterator[Event]:
        """Let the model answer without documents; as `stream` does."""
        ...

    async def retrieve(self, question: Question, /) -> Retrieved:
        """Find passages, call no model."""
        ...


class Documents(Protocol):
    """Adds and deletes documents. Every method raises `FootnoteError`."""

    async def submit(self, new: NewVersion, /) -> Submitted:
        """Keep a document and submit the job that indexes it."""
        ...

    async def delete(self, document_id: str, /, *, collection: str) -> None:
        """Delete a document, also one whose job has not run yet."""
        ...

    async def content(self, document_id: str, /, *, collection: str) -> Content:
        """Return the bytes that a document was made of."""
        ...


class CollectionWrites(Protocol):
    """Creates and deletes collections, and activates generations. Every method raises `FootnoteError`."""

    async def create(self, new: NewCollection, /) -> CollectionInfo:
        """Create a collection."""
        ...

    async def delete(self, name: str, /) -> None:
        """Delete a collection with all that is in it."""
        ...

    async def generations(self, name: str, /, *, limit: int, cursor: str | None) -> Page[GenerationInfo]:
        """List a collection's generations, the newest first."""
        ...

    async def activate(self, name: str, /, *, generation: str) -> Activated:
        """Let a generation answer from now on."""
        ...


class Embeddings(Protocol):
    """An embedding model, for texts of clients' own."""

    @property
    def model(self) -> str:
        """The model's name."""
        ...

    @property
    def dimension(self) -> int:
        """Length of its vectors."""
        ...

    @property
    def max_tokens(self) -> int:
        """What it reads of a text."""
        ...

    async def embed(self, texts: Sequence[str], *, as_questions: bool = False) -> Embedded:
        """Embed passages, or questions; raises `FootnoteError`."""
        ...


class EmbeddingModels(Protocol):
    """The embedding models that the settings name."""

    @property
    def names(self) -> Sequence[str]:
        """What clients call them, the default first."""
        ...

    async def named(self, name: str) -> Embeddings:
        """Return one, opened if need be; raises `FootnoteError`."""
        ...


class Dependency(Protocol):
    """State of a dependency.

    Attributes:
        required: whether nothing can be answered without it.
        detail: one line for operators, with no secret in it.

    """

    @property
    def ok(self) -> bool:
        """Whether it works now."""
        ...

    @property
    def required(self) -> bool:
        """Whether the server is unready without it."""
        ...

    @property
    def detail(self) -> str:
        """Its state in one line."""
        ...


class Runtime(Protocol):
    """Everything that was built when the server started."""

    @property
    def settings(self) -> Settings:
        """The settings it was built from."""
        ...

    @property
    def answers(self) -> Answers:
        """The service behind ``/query`` and ``/retrieve``."""
        ...

    @property
    def embeddings(self) -> EmbeddingModels:
        """The service behind ``/v1/embeddings``."""
        ...

    @property
    def conversations(self) -> Conversations:
        """The service behind ``/chat`` and ``/conversations``."""
        ...

    @property
    def feedback(self) -> FeedbackStore:
        """The ratings behind ``/feedback``."""
        ...

    @property
    def golden(self) -> Golden:
        """The golden questions behind ``/golden``."""
        ...

    @property
    def evaluations(self) -> Evaluations:
        """The evaluations behind ``/evaluations``."""
        ...

    @property
    def telemetry(self) -> Telemetry:
        """The process's telemetry."""
        ...

    @property
    def member(self) -> Member | None:
        """Which of several workers this is."""
        ...

    @property
    def idempotency(self) -> Idempotency:
        """Answers each ``Idempotency-Key`` once."""
        ...

    @property
    def streams(self) -> Streams:
        """Answers that are being written, and those whose streams can be resumed."""
        ...

    @property
    def collection_catalog(self) -> Collections:
        """Reads collections."""
        ...

    @property
    def document_catalog(self) -> DocumentCatalog:
        """Reads what is known about documents."""
        ...

    @property
    def document_texts(self) -> DocumentTexts:
        """Reads documents' texts."""
        ...

    @property
    def suggestions(self) -> Suggestions:
        """Suggests questions about a collection."""
        ...

    @property
    def document_readers(self) -> DocumentReaders:
        """Reads and sets who may read documents."""
        ...

    @property
    def page_pictures(self) -> PagePictures:
        """Draws pages of documents."""
        ...

    @property
    def uploads(self) -> Uploads:
        """Receives files."""
        ...

    @property
    def evidence(self) -> EvidenceRecord:
        """The record of who was shown which passages."""
        ...

    @property
    def keys(self) -> KeyService:
        """Makes and revokes API keys."""
        ...

    @property
    def tenants(self) -> TenantService:
        """Makes, suspends and deletes tenants."""
        ...

    @property
    def authenticator(self) -> Authenticator:
        """Checks the keys and tokens of requests."""
        ...

    @property
    def documents(self) -> Documents:
        """Adds, replaces and deletes documents."""
        ...

    @property
    def jobs(self) -> JobStore:
        """The jobs behind ``/jobs``."""
        ...

    @property
    def watchers(self) -> JobWatchers:
        """Bounds how many clients follow jobs at once."""
        ...

    @property
    def collections(self) -> CollectionWrites:
        """Creates and deletes collections, and activates generations."""
        ...

    @property
    def audit(self) -> AuditRecord:
        """The record behind ``/audit``."""
        ...

    @property
    def refusals(self) -> Refusals:
        """Tells the audit record of what is refused."""
        ...

    @property
    def limits(self) -> OpenLimits:
        """What limits requests, and the record of usage behind ``/usage``."""
        ...

    async def health(self) -> Mapping[str, Dependency]:
        """Look at each dependency, by name."""
        ...


OpenRuntime = Callable[[Settings], AbstractAsyncContextManager[Runtime]]
