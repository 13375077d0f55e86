"""The results of tools: structured for programs, and as text for the language model that reads them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from server.answers import Answer, Citation, Retrieved
from server.api.problems import clean
from server.api.schemas.answers import AnswerView, SearchView, members_of
from server.mcp.addresses import DocumentAddress
from storage.collections.collections import CollectionInfo
from storage.cursors import Page
from storage.documents.catalog import DocumentInfo
from storage.documents.text import TextPart


class _Out(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class PassageOut(_Out):
    """A quotation from a document."""

    id: int = Field(description="The n of [n] in an answer.")
    document_id: str
    uri: str = Field(description="The document, as a resource.")
    source: str
    title: str
    heading: str | None
    page: int | None
    page_end: int | None
    text: str
    score: float = Field(description="What the passages are ordered by; its scale is the engine's.")
    start: int = Field(description="Character offset in the document.")
    end: int

    @classmethod
    def of(cls, citation: Citation, *, collection: str) -> Self:
        """Return a passage as a client reads it."""
        uri = str(DocumentAddress(collection, citation.document_id))
        known = {name: getattr(citation, name) for name in cls.model_fields if name != "uri"}
        return cls(uri=uri, **known | {"text": clean(citation.text)})

    @property
    def place(self) -> str:
        """Its source in one line: id, title, heading, page and address."""
        where = [self.title, self.heading if self.heading != self.title else None, self.source]
        page = [page_line(self.page, self.page_end)] if self.page else []
        return f"[{self.id}] {' · '.join([part for part in where if part] + page)} <{self.uri}>"


def page_line(page: int, page_end: int | None) -> str:
    """Return pages as a line shows them: ``page 4``, ``pages 4 to 5``."""
    return f"page {page}" if page_end in {None, page} else f"pages {page} to {page_end}"


class CitationOut(PassageOut):
    """A passage that the model was given."""

    cited: bool = Field(description="Whether the answer points at it.")


class SearchOut(SearchView):
    """Passages, the best first."""

    results: list[PassageOut]

    @classmethod
    def of(cls, retrieved: Retrieved, *, request_id: str) -> Self:
        """Return a retrieval as a client reads it."""
        results = [PassageOut.of(found, collection=retrieved.collection) for found in retrieved.results]
        return cls.model_validate({**members_of(retrieved, request_id=request_id), "results": results})

    def __str__(self) -> str:
        if not self.results:
            return f"Nothing was found in the collection {self.collection}."
        return "\n\n".join([*_rerank_failure(self), *(f"{found.place}\n{found.text}" for found in self.results)])


class AskOut(AnswerView):
    """An answer with its footnotes."""

    answer: str
    citations: list[CitationOut] = Field(description="The passages that the model was given.")

    @classmethod
    def of(cls, answer: Answer, *, request_id: str) -> Self:
        """Return an answer as a client reads it."""
        sources, done = answer.sources, answer.done
        citations = [CitationOut.of(citation, collection=sources.collection) for citation in done.citations]
        members = members_of(sources, done, request_id=request_id)
        return cls.model_validate({**members, "answer": clean(answer.answer), "citations": citations})

    def __str__(self) -> str:
        shown = [citation for citation in self.citations if citation.cited] or self.citations
        places = ["\n".join(citation.place for citation in shown)] if shown else []
        return "\n\n".join([self.answer, *places, *_rerank_failure(self)])


def _rerank_failure(view: SearchView) -> list[str]:
    """Return a line for the model that reads the result, where a reranking that was asked for was not applied."""
    if view.rerank is None or view.rerank.applied:
        return []
    return [f"The reranking failed ({view.rerank.reason}): the passages are in the order in which they were found."]


class CollectionOut(_Out):
    """A collection."""

    name: str
    documents: int
    chunks: int
    language: str
    generation: str
    embedding_model: str
    created_at: datetime


class CollectionsOut(_Out):
    """A page of collections."""

    collections: list[CollectionOut]
    next_cursor: str | None = Field(description="For the next page; null on the last one.")

    @classmethod
    def of(cls, page: Page[CollectionInfo]) -> Self:
        """Return a page as a client reads it."""
        return cls(
            collections=[CollectionOut.model_validate(item) for item in page.items], next_cursor=page.next_cursor
        )

    def __str__(self) -> str:
        lines = [
            f"{one.name}: {one.documents} documents, {one.chunks} passages, {one.language}" for one in self.collections
        ]
        more = [f"There are more; call again with cursor {self.next_cursor}"] if self.next_cursor else []
        return "\n".join(lines + more) or "There are no collections yet."


class DocumentOut(_Out):
    """A document and a part of its text."""

    document_id: str
    collection: str
    uri: str
    source: str
    title: str
    metadata: dict[str, Any]
    bytes: int
    ingested_at: datetime
    text: str
    offset: int = Field(description="Where `text` begins, in characters.")
    total_characters: int
    next_offset: int | None = Field(description="Where the next part begins; null on the last one.")

    @classmethod
    def of(cls, document: DocumentInfo, part: TextPart) -> Self:
        """Return a document and a part of its text as a client reads them."""
        return cls(
            document_id=document.id,
            collection=document.collection,
            uri=str(DocumentAddress(document.collection, document.id)),
            source=document.source,
            title=document.title,
            metadata=dict(document.metadata),
            bytes=document.bytes,
            ingested_at=document.ingested_at,
            text=part.text,
            offset=part.offset,
            total_characters=part.total,
            next_offset=part.next_offset,
        )

    def __str__(self) -> str:
        end = self.offset + len(self.text)
        head = (
            f"{self.title} · {self.source} <{self.uri}>, characters {self.offset} to {end} of {self.total_characters}"
        )
        more = f"; the next part begins at offset {self.next_offset}" if self.next_offset else ""
        return f"{head}{more}\n\n{self.text}"


ToolOut = SearchOut | AskOut | CollectionsOut | DocumentOut
