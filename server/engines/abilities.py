"""Checks that a model can do what an engine asks of it."""

from server.engines.models.model import LanguageModel
from server.engines.models.provider import LOCAL
from server.engines.parts import EngineParts
from server.errors import ModelRequired


def conversational(model: LanguageModel | None) -> LanguageModel | None:
    """Return the model if it can rewrite or summarise a conversation: a chat model that is not tiny. Else None."""
    return None if model is None or not model.is_chat or model.provider == LOCAL else model


def chat_model(parts: EngineParts) -> LanguageModel:
    """Return the model.

    Raises:
        ModelRequired: there is no model, or it is no chat model.

    """
    model = conversational(parts.model)
    if model is None:
        raise ModelRequired(parts.question.mode)
    return model
