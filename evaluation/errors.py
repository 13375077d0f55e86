"""Errors of evaluations."""

from config.errors import FootnoteError


class EvaluationRefused(FootnoteError):
    """A command cannot do what it was asked; the message says what to change."""


class QuestionFailed(FootnoteError):
    """A question got no result; the message is the server's or the engine's."""
