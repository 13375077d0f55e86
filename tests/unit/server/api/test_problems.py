from __future__ import annotations

import importlib
import json
import pkgutil

import pytest

import embedding
import ingestion
import server
import storage
from config.errors import CallerError, FootnoteError, slug_of
from server.api.problems import (
    INTERNAL,
    KINDS,
    MALFORMED_ERRORS,
    FieldError,
    Problem,
    kind_of,
    problem_of,
    problem_response,
)
from server.engines.models.errors import ModelFailed, ModelRateLimited, ModelRejected, ModelTimeout, ModelUnavailable
from server.errors import DeadlineExceeded, Overloaded, ShuttingDown, UnknownEngine
from storage.errors import CollectionNotFound, InvalidCursor, StoreFailed, StoreUnavailable, UnsupportedFilter

CONTRACT = {
    "invalid-request", "collection-not-found", "document-not-found", "embedding-mismatch", "too-large",
    "unsupported-media-type", "model-failed", "model-rejected", "store-unavailable", "model-unavailable", "overloaded",
    "deadline-exceeded", "internal", "conversation-not-found", "conversation-busy",
    "job-not-found", "already-exists", "rate-limited", "origin-refused", "unauthenticated", "forbidden",
    "budget-exhausted",
}  # fmt: skip

ADDED = {
    "plug-in-failed", "plug-in-unavailable", "refused-by-guard",
    "feedback-not-found", "model-not-found", "stream-not-found", "stream-abandoned", "stream-lost", "stream-stopped",
    "generation-not-ready", "job-not-retryable", "fetch-failed", "host-refused",
    "page-not-found", "document-attached", "key-not-found", "identity-unavailable",
    "context-length-exceeded", "tenant-not-found", "golden-question-not-found", "evaluation-not-found", "extra-missing",
}  # fmt: skip


def every_error() -> set[type[FootnoteError]]:
    for package in (storage, embedding, ingestion, server):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            # a `library` module imports sentence-transformers and defines no error
            if not {"__main__", "migrations", "library"} & set(module.name.split(".")):
                importlib.import_module(module.name)
    found: set[type[FootnoteError]] = set()
    left = [FootnoteError]
    while left:
        subclasses = left.pop().__subclasses__()
        found.update(subclasses)
        left.extend(subclasses)
    return {
        error
        for error in found
        if error.__module__.split(".")[0] in {"storage", "embedding", "ingestion", "server", "config"}
    }


def says_its_slug(error: type[FootnoteError]) -> bool:
    return any("slug" in vars(base) for base in error.__mro__[: error.__mro__.index(FootnoteError)])


def test_every_error_of_ours_says_its_slug_which_has_a_status_and_a_title() -> None:
    unmapped = sorted(
        error.__qualname__
        for error in every_error() - {CallerError}
        if not says_its_slug(error) or error.slug not in KINDS
    )
    assert unmapped == []


def test_an_error_is_the_caller_s_fault_where_its_status_says_so() -> None:
    wrong = sorted(
        error.__qualname__
        for error in every_error() - {CallerError, ModelRateLimited}  # that others ask too is nobody's fault
        if issubclass(error, CallerError) != (KINDS[error.slug].status < 500)
    )
    assert wrong == []
    assert all(issubclass(error, CallerError) for error in MALFORMED_ERRORS)


def test_the_walk_finds_errors_in_each_package() -> None:
    assert {"storage", "embedding", "ingestion", "server"} <= {
        error.__module__.split(".")[0] for error in every_error()
    }


def test_an_unmapped_error_would_be_noticed() -> None:
    class Unheard(FootnoteError):
        pass

    assert not says_its_slug(Unheard)
    assert (slug_of(Unheard()), kind_of(Unheard())) == ("internal", INTERNAL)


def test_slugs_are_those_of_the_contract() -> None:
    assert {error.slug for error in every_error()} <= CONTRACT | ADDED
    assert set(KINDS) - CONTRACT == ADDED | {"not-found", "method-not-allowed"}


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        (CollectionNotFound("x"), 404, "collection-not-found"),
        (UnknownEngine("x", known=("hybrid",)), 422, "invalid-request"),
        (UnsupportedFilter("no"), 400, "invalid-request"),
        (InvalidCursor(), 422, "invalid-request"),
        (StoreUnavailable("down"), 503, "store-unavailable"),
        (ModelUnavailable("down"), 503, "model-unavailable"),
        (ModelFailed("bad"), 502, "model-failed"),
        (ModelRejected("key"), 502, "model-rejected"),
        (ModelTimeout("slow"), 504, "deadline-exceeded"),
        (DeadlineExceeded(3), 504, "deadline-exceeded"),
        (Overloaded(), 503, "overloaded"),
        (ShuttingDown(), 503, "overloaded"),
        (StoreFailed("SQLSTATE 42601"), 500, "internal"),
        (ZeroDivisionError("secret"), 500, "internal"),
    ],
)
def test_an_error_has_its_status_and_slug(error: BaseException, status: int, slug: str) -> None:
    problem = problem_of(error, request_id="r1")
    assert (problem.kind.status, problem.kind.slug) == (status, slug)


@pytest.mark.parametrize("error", [ZeroDivisionError("secret"), StoreFailed("secret")])
def test_an_internal_problem_tells_the_request_id_and_nothing_else(error: BaseException) -> None:
    document = problem_of(error, request_id="r1").document("r1")
    assert "r1" in str(document["detail"])
    assert "secret" not in json.dumps(document)


def test_retry_after_is_whole_seconds_in_the_header() -> None:
    response = problem_response(problem_of(Overloaded(retry_after=7), request_id="r"), request_id="r")
    assert response.headers["retry-after"] == "7"
    assert response.headers["content-type"] == "application/problem+json"


def test_no_retry_after_where_waiting_does_not_help() -> None:
    response = problem_response(problem_of(CollectionNotFound("x"), request_id="r"), request_id="r")
    assert "retry-after" not in response.headers


def test_a_request_that_is_invalid_names_the_field() -> None:
    problem = problem_of(UnknownEngine("magic", known=("hybrid", "vector")), request_id="r")
    assert [error.field for error in problem.errors] == ["mode"]


def test_lone_surrogates_do_not_break_the_encoder() -> None:
    problem = Problem(INTERNAL, "half \ud800 pair", errors=(FieldError("a\udfff", "b\ud800"),))
    body = json.loads(bytes(problem_response(problem, request_id="r").body))
    assert body["detail"] == "half � pair"
    assert body["errors"] == [{"field": "a�", "reason": "b�"}]


def test_surrogates_that_make_a_pair_become_their_character() -> None:
    assert Problem(INTERNAL, "\ud83d\ude00").document("r")["detail"] == "😀"


def test_long_text_is_cut() -> None:
    document = Problem(INTERNAL, "x" * 5000, errors=(FieldError("f" * 5000, "r" * 5000),)).document("r")
    assert len(json.dumps(document)) < 4000


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (Overloaded(), True),
        (ModelFailed("x", retryable=False), False),
        (ModelRejected("x"), False),
        (ModelTimeout("x"), True),
    ],
)
def test_a_problem_knows_whether_trying_again_may_help(error: BaseException, *, retryable: bool) -> None:
    assert problem_of(error, request_id="r").retryable is retryable
