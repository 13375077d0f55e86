"""What the HTTP layer needs of the rest of the server, and nothing more; `server.runtime` provides it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Protocol
from uuid import UUID

from config.settings import Settings
from config.telemetry.setup import Telemetry
from server.answers import Answer, Event, Question, Retrieved, Turn
from server.services.collections import Activated, NewCollection
from server.services.conversations import Conversations
from server.services.documents import Content, NewVersion, Submitted
from server.services.embeddings import Embedded
from server.services.feedback import Feedback
from server.services.idempotency import Idempotency
from server.streams.streams import Streams
from server.uploads.multipart import Uploads
from storage.collections.collections import CollectionInfo
from storage.collections.generations import GenerationInfo
from storage.cursors import Page
from storage.documents.catalog import DocumentInfo
from storage.documents.text import TextPart
from storage.jobs.jobs import Job, Status


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

    async def retrieve(self, question: Question, /) -> Retrieved:
        """Find passages, call no model."""
        ...


class Catalog(Protocol):
    """Reads over collections and documents. Every method raises `FootnoteError`."""

    async def collections(self, *, limit: int, cursor: str | None) -> Page[CollectionInfo]:
        """List collections by name."""
        ...

    async def collection(self, name: str, /) -> CollectionInfo:
        """Describe a collection."""
        ...

    async def documents(self, *, collection: str, limit: int, cursor: str | None) -> Page[DocumentInfo]:
        """List a collection's documents by id."""
        ...

    async def document(self, document_id: str, /, *, collection: str | None) -> DocumentInfo:
        """Describe a document."""
        ...

    async def text(self, document_id: str, /, *, collection: str | None, offset: int, limit: int) -> TextPart:
        """Return at most `limit` characters of a document's text, from `offset` on."""
        ...


class Documents(Protocol):
    """Documents, brought and taken away. Every method raises `FootnoteError`."""

    async def submit(self, new: NewVersion, /) -> Submitted:
        """Keep a document and submit the job that indexes it."""
        ...

    async def delete(self, document_id: str, /, *, collection: str | None) -> None:
        """Delete a document, also one that is only on its way."""
        ...

    async def content(self, document_id: str, /, *, collection: str | None) -> Content:
        """Return the bytes that a document was made of."""
        ...


class Jobs(Protocol):
    """What happens to documents. Every method raises `FootnoteError`."""

    async def get(self, job_id: UUID, /) -> Job:
        """Return a job."""
        ...

    async def list(
        self, *, limit: int, cursor: str | None, collection: str | None, status: Status | None, document_id: str | None
    ) -> Page[Job]:
        """List jobs, the newest first."""
        ...

    async def cancel(self, job_id: UUID, /) -> Job:
        """Cancel a job that has not ended; return it as it is now."""
        ...

    async def retry(self, job_id: UUID, /) -> Job:
        """Put a dead job into the queue again."""
        ...

    def watching(self) -> AbstractContextManager[None]:
        """Take one of the places of those who watch; raises `Overloaded` where none is free."""
        ...

    def watch(self, job_id: UUID, /) -> AsyncIterator[Job]:
        """Give a job as it is, then whenever it has changed, until it has ended."""
        ...


class CollectionWrites(Protocol):
    """Collections, made and deleted, and their generations. Every method raises `FootnoteError`."""

    async def create(self, new: NewCollection, /) -> CollectionInfo:
        """Make a collection."""
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
    """The embedding model, for texts of clients' own."""

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


class Dependency(Protocol):
    """State of something that Footnote stands on.

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
        """What there is to say about it."""
        ...


class Runtime(Protocol):
    """Everything that was built at the start."""

    @property
    def settings(self) -> Settings:
        """The settings it was built from."""
        ...

    @property
    def answers(self) -> Answers:
        """The service behind ``/query`` and ``/retrieve``."""
        ...

    @property
    def embeddings(self) -> Embeddings:
        """The service behind ``/v1/embeddings``."""
        ...

    @property
    def conversations(self) -> Conversations:
        """The service behind ``/chat`` and ``/conversations``."""
        ...

    @property
    def feedback(self) -> Feedback:
        """The service behind ``/feedback``."""
        ...

    @property
    def telemetry(self) -> Telemetry:
        """What the process tells of itself."""
        ...

    @property
    def idempotency(self) -> Idempotency:
        """Answers each ``Idempotency-Key`` once."""
        ...

    @property
    def streams(self) -> Streams:
        """The answers that are being written, and those that can be taken up again."""
        ...

    @property
    def catalog(self) -> Catalog:
        """What reads behind ``/collections`` and ``/documents``."""
        ...

    @property
    def uploads(self) -> Uploads:
        """Receives files."""
        ...

    @property
    def documents(self) -> Documents:
        """What writes behind ``/documents``."""
        ...

    @property
    def jobs(self) -> Jobs:
        """The service behind ``/jobs``."""
        ...

    @property
    def collections(self) -> CollectionWrites:
        """What writes behind ``/collections``."""
        ...

    async def health(self) -> Mapping[str, Dependency]:
        """Look at each dependency, by name."""
        ...


OpenRuntime = Callable[[Settings], AbstractAsyncContextManager[Runtime]]
