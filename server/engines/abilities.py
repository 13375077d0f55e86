"""What some chat engines cannot do without."""

from server.engines.models.model import LanguageModel
from server.engines.models.provider import LOCAL
from server.engines.parts import EngineParts
from server.errors import ModelRequired


def conversational(model: LanguageModel | None) -> LanguageModel | None:
    """Return the model if it can be asked to rewrite or sum up what was said: one that knows roles, and is not tiny."""
    return None if model is None or not model.is_chat or model.provider == LOCAL else model


def chat_model(parts: EngineParts) -> LanguageModel:
    """Return the model.

    Raises:
        ModelRequired: there is none, or it is none that knows roles.

    """
    model = conversational(parts.model)
    if model is None:
        raise ModelRequired(parts.question.mode)
    return model
