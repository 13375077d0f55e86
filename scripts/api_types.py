"""Print `web/types/api.d.ts`: what the page sends to the server and gets from it, as the OpenAPI description has it.

python scripts/api_types.py > web/types/api.d.ts
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script's own directory comes first, not the root

from config.settings import Settings
from server.app import create_app
from server.runtime import open_runtime

HEAD = """\
// What is sent to the server (`…Body`) and comes from it (`…Out`), made from its OpenAPI description by `make format`.
// `unknown`: the description leaves it open.
declare namespace Api {
  /** A page of a list. */
  interface PageOut<Item> {
    items: Item[];
    next_cursor: string | null;
  }
"""
OTHERS = ("/v1/", "/.well-known/")
"""Paths that the page does not ask."""
PAGE = "PageOut_"
REF = "#/components/schemas/"
PRIMITIVES = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def api_types() -> str:
    """Return the file's text."""
    document = create_app(Settings(_env_file=None), open_runtime=open_runtime).openapi()
    schemas: dict[str, Any] = document["components"]["schemas"]
    told = [
        (method.get("requestBody"), [answer for status, answer in method["responses"].items() if status[0] == "2"])
        for path, methods in document["paths"].items()
        if not path.startswith(OTHERS)
        for method in methods.values()
    ]
    wanted: set[str] = set()
    ahead = list(named(told))
    while ahead:
        name = ahead.pop()
        if name not in wanted:
            wanted.add(name)
            ahead.extend(named(schemas[name]))
    interfaces = (interface(name, schemas[name]) for name in sorted(wanted, key=short) if not name.startswith(PAGE))
    return f"{HEAD}{''.join(interfaces)}}}\n"


def named(part: object) -> Iterator[str]:
    """Yield the names of the schemas that a part of the description refers to."""
    if isinstance(part, dict):
        if isinstance(reference := part.get("$ref"), str):
            yield reference.removeprefix(REF)
        for each in part.values():
            yield from named(each)
    elif isinstance(part, list | tuple):
        for each in part:
            yield from named(each)


def interface(name: str, schema: dict[str, Any]) -> str:
    """Return the declaration of a schema of an object."""
    required = schema.get("required", [])
    lines = [
        f"    {member}{'' if member in required else '?'}: {written(of)};\n"
        for member, of in schema.get("properties", {}).items()
    ]
    return f"\n  interface {short(name)} {{\n{''.join(lines)}  }}\n"


def written(schema: dict[str, Any]) -> str:
    """Return a schema as a type."""
    match schema:
        case {"$ref": reference}:
            made = short(reference.removeprefix(REF))
        case {"anyOf": choices} | {"oneOf": choices}:
            made = " | ".join(dict.fromkeys(map(written, choices)))
        case {"const": value}:
            made = json.dumps(value)
        case {"enum": values}:
            made = " | ".join(map(json.dumps, values))
        case {"type": "array", "items": items}:
            item = written(items)
            made = f"({item})[]" if " | " in item else f"{item}[]"
        case {"type": "object", "additionalProperties": dict() as values}:
            made = f"Record<string, {written(values)}>"
        case {"type": "object"}:
            made = "Record<string, unknown>"
        case _:
            made = PRIMITIVES.get(schema.get("type", ""), "unknown")
    return made


def short(name: str) -> str:
    """Return a schema's name, with its module where several have it."""
    if name.startswith(PAGE):
        return f"PageOut<{name.removeprefix(PAGE).removesuffix('_')}>"
    if "__" not in name:
        return name
    *_, module, last = name.split("__")
    return module.title().replace("_", "") + last


if __name__ == "__main__":
    print(api_types(), end="")
