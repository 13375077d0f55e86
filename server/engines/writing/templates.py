"""Prompt templates: how passages and a question are laid out for a chat model, as TOML files.

A template is cut at its placeholders; passages and questions are put between the pieces and never expanded themselves.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from config.settings import SettingsError

FOLDER = Path(__file__).parent / "templates"
MAX_BYTES = 64 * 1024
_PLACEHOLDER = re.compile(r"\{(passages|question|refusal)\}")


def _holds(text: str, *, times: Literal[0, 1]) -> str:
    """Return a text that holds the passages and the question so many times."""
    for name in ("passages", "question"):
        if text.count(f"{{{name}}}") != times:
            msg = f"it must hold {{{name}}} once" if times else f"it must not hold {{{name}}}"
            raise ValueError(msg)
    return text


_Text = Annotated[str, Field(min_length=1)]
_Plain = Annotated[_Text, AfterValidator(partial(_holds, times=0))]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, strict=True)


class Example(_Part):
    """A question that is answered as it should be; `answer` may be ``{refusal}``."""

    passages: Annotated[list[_Text], Field(min_length=1)]
    question: _Text
    answer: _Plain


class Template(_Part):
    """The layout of a prompt.

    Attributes:
        system: the instructions; may hold ``{refusal}``, the sentence that says that the passages hold no answer.
        asked: the message that asks, with ``{passages}`` and ``{question}``.
        examples: earlier turns, laid out in the same way.

    """

    system: _Plain
    asked: Annotated[_Text, AfterValidator(partial(_holds, times=1))]
    examples: list[Example] = []

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """How the lines of `asked` begin in which the passages and the question stand: ``Question:``."""
        before = [self.asked[: self.asked.index(f"{{{name}}}")] for name in ("passages", "question")]
        lines = (text.rstrip().rpartition("\n")[2].strip() for text in before)
        return tuple(line for line in lines if line and not _PLACEHOLDER.search(line))

    @property
    def texts(self) -> list[str]:
        """All that comes beside the passages and the question."""
        texts = [self.system, self.asked]
        for example in self.examples:
            texts += [self.asked, *example.passages, example.question, example.answer]
        return texts


def filled(text: str, values: Mapping[str, str]) -> str:
    """Return a text with its placeholders filled in; what is filled in stays as it is."""
    pieces = _PLACEHOLDER.split(text)
    return "".join(values[piece] if place % 2 else piece for place, piece in enumerate(pieces))


@cache
def template(name: str) -> Template:
    """Read a template: one of ours by its name, or a TOML file by its path. It is read once.

    Raises:
        SettingsError: there is none, or it is not laid out as docs/prompts.md says.

    """
    own = FOLDER / f"{name}.toml"
    try:
        with (own if re.fullmatch(r"[a-z_]+", name) else Path(name)).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise _wrong(name, f"is longer than {MAX_BYTES} bytes")
        return Template.model_validate(tomllib.loads(raw.decode()))
    except OSError as exc:
        known = ", ".join(sorted(each.stem for each in FOLDER.glob("*.toml")))
        raise _wrong(name, f"cannot be read ({exc.strerror}); give a TOML file, or one of: {known}") from None
    except ValidationError as exc:
        first = exc.errors()[0]
        raise _wrong(name, f"is wrong at {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except RecursionError:
        raise _wrong(name, "is nested too deeply") from None
    except ValueError as exc:  # no TOML, or no UTF-8
        raise _wrong(name, f"is no TOML in UTF-8: {exc}") from None


def _wrong(name: str, what: str) -> SettingsError:
    return SettingsError(f"FOOTNOTE_LLM__PROMPT={name} {what}")
