"""What LlamaIndex's responses say: text, reasoning, tokens and the reason for the end, wherever a class puts them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from server.answers import Usage

if TYPE_CHECKING:
    from llama_index.core.llms import ChatResponse, CompletionResponse

    Response = ChatResponse | CompletionResponse

_READ = ("prompt_tokens", "input_tokens", "inputTokens", "prompt_token_count", "prompt_eval_count")
_WRITTEN = ("completion_tokens", "output_tokens", "outputTokens", "candidates_token_count", "eval_count")
_COUNTS = ("usage", "usage_metadata", "usageMetadata", "token_usage")
_REASONS = ("finish_reason", "stop_reason", "stopReason", "done_reason", "finishReason")
_CHOICES = ("choices", "candidates")
_REASONING = ("thinking_delta", "reasoning_delta", "reasoning_content")


def text_of(response: Response) -> str:
    """Return all the text so far."""
    message = getattr(response, "message", None)
    return str((response.text if message is None else message.content) or "")  # type: ignore[union-attr]


def piece_of(response: Response, before: str) -> str:
    """Return what is new in a part of a stream; `before` is the text up to it, for classes that only tell all of it."""
    if response.delta is not None:
        return str(response.delta)
    text = text_of(response)
    return text.removeprefix(before) if text.startswith(before) else text


def reasoning_of(response: Response) -> str:
    """Return what the model wrote for itself, where the class tells it apart."""
    found = (_get(place, name) for place in _own(response) for name in _REASONING)
    return next((text for text in found if isinstance(text, str) and text), "")


def usage_of(response: Response) -> Usage | None:
    """Return the tokens that the provider counted; None: the class tells none."""
    for place in _places(response):
        read, written = _count(place, _READ), _count(place, _WRITTEN)
        if read is not None or written is not None:
            return Usage(read or 0, written or 0, (read or 0) + (written or 0))
    return None


def reason_of(response: Response) -> str | None:
    """Return why the answer ended, in the provider's words; None: it has not ended, or the class does not say."""
    found = (_get(place, name) for place in _places(response) for name in _REASONS)
    return next((_word(reason) for reason in found if reason), None)


def model_of(response: Response) -> str | None:
    """Return the model's name as the provider reports it."""
    found = (_get(response.raw, name) for name in ("model", "model_version"))
    return next((name for name in found if isinstance(name, str) and name), None)


def _own(response: Response) -> Iterator[object]:
    yield response.additional_kwargs
    yield getattr(getattr(response, "message", None), "additional_kwargs", None)


def _places(response: Response) -> Iterator[object]:
    """Yield everything that may hold counts or a reason."""
    for place in (*_own(response), response.raw):
        yield place
        for name in (*_COUNTS, "delta"):
            yield _get(place, name)
        for name in _CHOICES:
            choices = _get(place, name)
            if isinstance(choices, list) and choices:
                yield choices[0]


def _get(place: object, name: str) -> object:
    return place.get(name) if isinstance(place, Mapping) else getattr(place, name, None)


def _count(place: object, names: tuple[str, ...]) -> int | None:
    found = (_get(place, name) for name in names)
    return next((count for count in found if type(count) is int and count >= 0), None)


def _word(reason: object) -> str:
    """Return a reason as a word; some are members of an enumeration."""
    return str(getattr(reason, "value", reason))
