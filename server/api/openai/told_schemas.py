"""JSON schemas that LlamaIndex writes into a message, for models that it thinks call no functions.

`structured_predict` and `as_structured_llm` of an `OpenAILike` do so by its `PydanticOutputParser`
(``llama_index/core/output_parsers/pydantic.py``), into the first message of the role `system`, else into the last one.
Braces come doubled: the parser escapes them for a template that was filled before. A collection is not to be searched
for a schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from server.api.openai.messages import MessageIn
from server.json_schemas import sound_schema

_TOLD = re.compile(
    r"\s*\n\nHere's a JSON schema to follow:\n(?P<schema>\{.*\})\n\n"
    r"Output a valid JSON object but do not repeat the schema\.\s*\Z",
    re.DOTALL,
)


def without_told_schema(messages: Sequence[MessageIn]) -> tuple[list[MessageIn], str | None]:
    """Return messages without the schema that LlamaIndex has written into one, and the schema as JSON, or None."""
    place = 0 if messages[0].role == "system" else len(messages) - 1
    told = _TOLD.search(messages[place].text)
    schema = _schema(told["schema"]) if told else None
    if told is None or schema is None:
        return list(messages), None
    bare = messages[place].model_copy(update={"content": messages[place].text[: told.start()]})
    return [*messages[:place], bare, *messages[place + 1 :]], schema


def _schema(text: str) -> str | None:
    """Return the schema as JSON; None where it is none, and part of somebody's own text."""
    for each in (text, text.replace("{{", "{").replace("}}", "}")):
        try:
            return json.dumps(sound_schema(json.loads(each)), ensure_ascii=False)
        except (ValueError, RecursionError, AttributeError):
            continue
    return None
