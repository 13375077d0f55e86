"""JSON by a schema: what fits, what does not, and where."""

import contextlib
import json

import pytest

from server.engines.models.errors import ModelFailed
from server.engines.writing.structured import checked_json

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
        "boss": {"$ref": "#/$defs/person"},
    },
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"person": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}},
}


@pytest.mark.parametrize(
    "value",
    [
        {"name": "Ä"},
        {"name": "", "age": None, "tags": ["a", "b"], "boss": {"name": "x", "more": 1}},
        {"name": "x", "age": 3.0},
    ],
)
def test_what_fits_is_given_as_json(value):
    assert json.loads(checked_json(json.dumps(value), json.dumps(PERSON), is_cut=False)) == value


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ([], "$ is not of type object"),
        ({}, "$ has no 'name'"),
        ({"name": True}, "$.name is not of type string"),
        ({"name": "x", "age": True}, "$.age fits none"),
        ({"name": "x", "age": 3.5}, "$.age fits none"),
        ({"name": "x", "tags": ["a", "c"]}, "$.tags[1] is none of"),
        ({"name": "x", "boss": {}}, "$.boss has no 'name'"),
        ({"name": "x", "more": 1}, "not in the schema"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(value, place):
    with pytest.raises(ModelFailed) as caught:
        checked_json(json.dumps(value), json.dumps(PERSON), is_cut=False)
    assert place in str(caught.value)


@pytest.mark.parametrize("text", ["", "no", "[" * 100_000, '{"name": "x"} and more', "```json\n{}"])
def test_what_is_no_json_is_an_error(text):
    with pytest.raises(ModelFailed, match="did not write JSON"):
        checked_json(text, json.dumps(PERSON), is_cut=False)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "https://example.com/x.json"},
        {"$ref": "#/a/b/c"},
        {"type": 5, "enum": 3, "properties": [], "required": "x", "items": 1, "anyOf": {}, "allOf": 2},
        {"anyOf": [{"$ref": "#"}] * 50},
        {"type": "nonsense", "pattern": "(a+)+$"},
    ],
)
def test_odd_and_hostile_schemas_end_soon(schema):
    with contextlib.suppress(ModelFailed):  # it may fit or not; it must end, and fail in no other way
        checked_json('{"a": [1, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"]}', json.dumps(schema), is_cut=False)
