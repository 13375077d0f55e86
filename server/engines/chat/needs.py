"""What some chat engines cannot do without."""

from server.engines.models.model import LanguageModel
from server.engines.parts import EngineParts
from server.engines.synthesis import LOCAL
from server.errors import ModelRequired


def chat_model(parts: EngineParts) -> LanguageModel:
    """Return the model.

    Raises:
        ModelRequired: there is none, or it is none that knows roles.

    """
    model = parts.model
    if model is None or not model.is_chat or model.provider == LOCAL:
        raise ModelRequired(parts.question.mode)
    return model
