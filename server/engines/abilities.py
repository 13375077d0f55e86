"""Checks that a model can do what an engine asks of it."""

from server.answers import Question
from server.engines.models.model import LanguageModel
from server.engines.models.provider import LOCAL
from server.engines.parts import EngineParts
from server.errors import ModelRequired, SchemaUnsupported


def conversational(model: LanguageModel | None) -> LanguageModel | None:
    """Return the model if it can rewrite or summarise a conversation: a chat model that is not tiny. Else None."""
    return None if model is None or not model.is_chat or model.provider == LOCAL else model


SCHEMA_MODES = frozenset({"hybrid", "vector", "keyword", "fusion", "window", "auto_merging", "context"})
"""Engines that leave the answer to the model's synthesizer."""


def check_schema(question: Question, model: LanguageModel | None) -> None:
    """Check that a question which brings a JSON schema can be answered by it.

    Raises:
        SchemaUnsupported: it cannot.

    """
    if question.json_schema is None:
        return
    if conversational(model) is None:
        reason = "needs a chat model; set FOOTNOTE_LLM__PROVIDER"
        raise SchemaUnsupported(reason)
    if question.mode not in SCHEMA_MODES:
        reason = f"is not written in the mode {question.mode!r}; there are {', '.join(sorted(SCHEMA_MODES))}"
        raise SchemaUnsupported(reason)


def chat_model(parts: EngineParts) -> LanguageModel:
    """Return the model.

    Raises:
        ModelRequired: there is no model, or it is no chat model.

    """
    model = conversational(parts.model)
    if model is None:
        raise ModelRequired(parts.question.mode)
    return model
