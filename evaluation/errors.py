"""What an evaluation refuses."""

from config.errors import FootnoteError


class EvaluationRefused(FootnoteError):
    """What a command was asked to do cannot be done; the message says what to change."""


class QuestionFailed(FootnoteError):
    """One question got no result; the message is that of the server or the engine."""
