"""What one answer showed, collected until it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from structlog.contextvars import get_contextvars

from server.services.evidence import shown_by
from storage.access.evidence import AnswerEvidence, Operation
from storage.access.limited import used_key
from storage.caller import LOCAL, caller

if TYPE_CHECKING:
    from server.answers import Citation
    from server.services.evidence import EvidenceRecord


class Noted:
    """Hands an answer's passages to the record when it has ended, however it did; one without any leaves no trace."""

    def __init__(
        self, record: EvidenceRecord, *, operation: Operation, conversation_id: str | None, trace_id: str | None
    ) -> None:
        """Take note of who asks: whoever the current task works for."""
        self._record = record
        self._operation = operation
        self._conversation_id = conversation_id
        self._trace_id = trace_id
        self._caller = caller() or LOCAL
        self._key = used_key()
        self._request_id = get_contextvars().get("request_id")
        self._at = datetime.now(UTC)
        self._passages: Sequence[Citation] = ()
        self._cited: Sequence[int] = ()
        self._where = ("", "")

    def shown(self, passages: Sequence[Citation], *, collection: str, generation: str) -> None:
        """Take note of passages that leave the server from here on."""
        self._passages, self._where = passages, (collection, generation)

    def cited(self, numbers: Sequence[int]) -> None:
        """Take note of the passages that the answer points at."""
        self._cited = numbers

    def ended(self, outcome: str) -> None:
        """Hand over what was shown; call it once."""
        if not (shown := shown_by(self._passages, cited=self._cited)):
            return
        collection, generation = self._where
        self._record.note(
            AnswerEvidence(
                id=uuid4(),
                at=self._at,
                tenant=self._caller.tenant,
                subject=self._caller.subject,
                key_id=self._key.id if self._key else None,
                operation=self._operation,
                outcome=outcome,
                collection=collection,
                generation=generation,
                shown=shown,
                request_id=self._request_id,
                trace_id=self._trace_id,
                conversation_id=UUID(self._conversation_id) if self._conversation_id else None,
            )
        )
