from __future__ import annotations

import re
import tomllib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from support.scripted import ScriptedAnswers, ScriptedRuntime
from support.soak import SOAK, examples

from config.settings import AuthSettings, Settings
from config.version import VERSION
from server.answers import Question
from server.app import create_app
from server.errors import UnknownEngine
from storage.errors import CollectionNotFound

ENGINES = ("hybrid", "vector", "keyword")
ROOT = Path(__file__).parents[2]


class PickyAnswers(ScriptedAnswers):
    """Answers for one collection and three engines, as the real service would."""

    async def stream(self, question: Question, /) -> AsyncGenerator[Any, None]:
        if question.collection != "default":
            raise CollectionNotFound(question.collection)
        if question.mode not in ENGINES:
            raise UnknownEngine(question.mode, known=ENGINES)
        async for event in super().stream(question):
            yield event


@asynccontextmanager
async def open_runtime(settings: Settings) -> AsyncIterator[ScriptedRuntime]:
    yield ScriptedRuntime(settings, PickyAnswers())


app = create_app(Settings(_env_file=None), open_runtime=open_runtime)
# its cases take seconds to make: where the test runs, not in each worker that collects it
schema = schemathesis.pytest.from_fixture("described")


@pytest.fixture
def described(request: pytest.FixtureRequest) -> Any:
    """The document as schemathesis reads it."""
    request.node._nodeid = request.node.nodeid  # schemathesis 4.32 looks for it; pytest 9.2 renamed it
    read = schemathesis.openapi.from_asgi("/openapi.json", app)
    read.config.phases.coverage.enabled = SOAK  # it lists thousands of cases; the examples and the fuzzing go on
    return read


@schema.parametrize()
@hypothesis_settings(
    max_examples=examples(10), deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
def test_every_operation_keeps_its_own_description(case: schemathesis.Case[Any]) -> None:
    response = case.call()
    # whether a mode is known, a cursor ours, a key fresh, how deep filters are, what is past is no matter of the schema
    depends = response.status_code == 422 and {error["field"] for error in response.json()["errors"]} <= {
        "mode",
        "cursor",
        "Idempotency-Key",
        "Last-Event-ID",
        "filters",
        "file",
        "url",
        "metadata",
        "document_id",
        "source",
        "title",
        "readers",
        "generation",
        "golden",
        "documents",
        "passages",
        "expires_at",
        "response_format.json_schema.schema",
    }
    depends = depends or (response.status_code == 422 and "must not be after" in response.text)  # of two members
    # what a reader takes is told by bytes, and a form's parts by more than their types
    depends = depends or response.status_code == 415
    depends = depends or openai_refuses(case.path, response)
    excluded = [positive_data_acceptance] if depends else []
    if case.media_type == "multipart/form-data":  # every value of a form is text: a number in it is no wrong type
        excluded.append(negative_data_rejection)
    case.validate_response(response, excluded_checks=excluded)


def openai_refuses(path: str, response: Any) -> bool:
    """Tell whether OpenAI's protocol refused what no schema says: messages that end in no question, say."""
    if not path.startswith("/v1/") or response.status_code != 400:
        return False
    param = response.json()["error"]["param"] or ""
    depends = {"footnote.mode", "dimensions", "response_format.json_schema.schema"}  # the last one is a schema itself
    return param in depends or param.startswith("messages") or bool(re.fullmatch(r"tools\[\d+\]\.function\..*", param))


def test_the_version_is_that_of_the_project() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION


def test_every_operation_is_described_with_its_problems() -> None:
    document = app.openapi()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            assert operation["description"], path
            assert operation["tags"], path
            problems = [code for code in operation["responses"] if code >= "400"]
            assert problems, path
            for code in problems:
                kind = "application/json" if path.startswith("/v1/") else "application/problem+json"
                assert list(operation["responses"][code]["content"]) == [kind], (path, code)


def test_requests_have_examples_and_they_are_valid() -> None:
    from server.api.schemas.questions import QuestionBody

    examples = app.openapi()["components"]["schemas"]["QuestionBody"]["examples"]
    assert len(examples) >= 2
    for example in examples:
        QuestionBody.model_validate(example)


@pytest.mark.parametrize("path", ["/query", "/query/stream"])
def test_streams_are_documented_with_an_example(path: str) -> None:
    content = app.openapi()["paths"][path]["post"]["responses"]["200"]["content"]
    assert "event: sources" in content["text/event-stream"]["example"]


@pytest.mark.parametrize("mode", ["off", "required"])
def test_the_document_says_which_operations_need_a_key(mode: str) -> None:
    settings = Settings(auth=AuthSettings(mode=mode, bootstrap_key="b" * 40), _env_file=None)
    document = create_app(settings, open_runtime=open_runtime).openapi()
    by_key = [{"bearer": []}, {"key": []}]
    assert document["security"] == (by_key if mode == "required" else [*by_key, {}])
    own = {
        (path, method): operation["security"]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if "security" in operation
    }
    assert own == {
        ("/health", "get"): [],
        ("/ready", "get"): [*by_key, {}],
        ("/.well-known/oauth-protected-resource", "get"): [],
        ("/.well-known/oauth-protected-resource/mcp", "get"): [],
    }
