"""The circuit breaker in front of the language model, on a clock that stands until it is moved."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
import structlog.testing

from server.engines.models.breaker import CircuitBreaker
from server.engines.models.errors import (
    ModelBusy,
    ModelError,
    ModelFailed,
    ModelRateLimited,
    ModelRefused,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
)

AWAY = ModelUnavailable("the model's server cannot be reached")


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker("openai", failures=3, seconds=10, clock=clock)


def call(breaker: CircuitBreaker, end: BaseException | None = None) -> None:
    """Make a call that ends so."""
    with breaker.guarded():
        if end is not None:
            raise end


def fail(breaker: CircuitBreaker, times: int = 3, error: BaseException = AWAY) -> None:
    for _ in range(times):
        with pytest.raises(type(error)):
            call(breaker, error)


def refused(breaker: CircuitBreaker) -> ModelRefused:
    with pytest.raises(ModelRefused) as caught:
        call(breaker)
    assert type(caught.value) is ModelRefused
    return caught.value


def state(breaker: CircuitBreaker) -> str:
    """Return the state; fail if the readings tell another, or not each state once."""
    readings = [(labels["footnote.state"], value) for value, labels in breaker.readings()]
    assert sorted(readings) == sorted((name, name == breaker.state) for name in ("closed", "half_open", "open"))
    assert {labels["footnote.breaker"] for _, labels in breaker.readings()} == {"openai"}
    return breaker.state


def test_it_opens_with_the_last_of_so_many_failures_in_a_row(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    assert state(breaker) == "closed"
    fail(breaker, 1)
    assert state(breaker) == "open"


def test_an_answer_between_failures_begins_the_count_anew(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    call(breaker)
    fail(breaker, 2)
    assert state(breaker) == "closed"


def test_a_refused_call_is_told_why_and_when_to_come_again(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 3.5
    error = refused(breaker)
    assert error.retry_after == 7
    assert str(error) == (
        "the model failed 3 times in a row (the model's server cannot be reached); it is tried again in 7 s"
    )


def test_refusals_do_not_put_the_trial_off(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 9.9
    assert refused(breaker).retry_after == 1
    clock.now += 0.1
    assert state(breaker) == "half_open"
    call(breaker)


def test_one_trial_is_let_through_and_the_others_are_refused_until_it_ends(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    fail(breaker)
    clock.now += 10
    assert breaker.refusal is None
    with breaker.guarded():
        error = refused(breaker)
        assert "it is being tried again" in str(error)
        assert error.retry_after > 0
        clock.now += 60
        refused(breaker)
        assert state(breaker) == "half_open"
    assert state(breaker) == "closed"
    call(breaker)


def test_after_a_trial_that_went_well_it_takes_as_many_failures_again(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 10
    call(breaker)
    fail(breaker, 2)
    assert state(breaker) == "closed"


def test_a_trial_that_fails_keeps_it_open_for_as_long_again(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 11
    fail(breaker, 1, ModelTimeout("the model was silent for 30 seconds"))
    assert state(breaker) == "open"
    error = refused(breaker)
    assert error.retry_after == 10
    assert "failed 4 times in a row (the model was silent for 30 seconds)" in str(error)
    clock.now += 10
    call(breaker)
    assert state(breaker) == "closed"


@pytest.mark.parametrize(
    "end", [asyncio.CancelledError(), GeneratorExit(), KeyboardInterrupt(), ZeroDivisionError(), ModelBusy("full")]
)
def test_a_trial_that_tells_nothing_leaves_its_place_to_the_next_call(
    breaker: CircuitBreaker, clock: Clock, end: BaseException
) -> None:
    fail(breaker)
    clock.now += 10
    for _ in range(5):
        fail(breaker, 1, end)
    assert state(breaker) == "half_open"
    call(breaker)
    assert state(breaker) == "closed"


async def test_a_cancelled_trial_leaves_its_place_to_the_next_call(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 10

    async def hang() -> None:
        with breaker.guarded():
            await asyncio.Event().wait()

    trial = asyncio.create_task(hang())
    await asyncio.sleep(0)
    refused(breaker)
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial
    call(breaker)
    assert state(breaker) == "closed"


@pytest.mark.parametrize(
    "error",
    [
        AWAY,
        ModelTimeout("silent"),
        ModelFailed("the model's provider failed with status 500"),
    ],
)
def test_a_provider_that_is_away_counts(breaker: CircuitBreaker, error: ModelError) -> None:
    fail(breaker, 3, error)
    assert state(breaker) == "open"


@pytest.mark.parametrize(
    "error",
    [
        ModelRejected("the question and its passages are more than the model reads"),
        ModelRateLimited("try again later", wait=60),
        ModelFailed("a page instead of a stream", retryable=False),
    ],
)
def test_a_provider_that_answers_is_there_whatever_it_says(
    breaker: CircuitBreaker, clock: Clock, error: ModelError
) -> None:
    fail(breaker, 50, error)
    fail(breaker, 2)
    fail(breaker, 1, error)
    fail(breaker, 2)
    assert state(breaker) == "closed"
    fail(breaker, 1)
    clock.now += 10
    fail(breaker, 1, error)  # the trial: the next client is told the same, not that the model is away
    assert state(breaker) == "closed"


@pytest.mark.parametrize("end", [asyncio.CancelledError(), ZeroDivisionError(), ModelBusy("full")])
def test_what_tells_nothing_of_the_provider_neither_counts_nor_begins_the_count_anew(
    breaker: CircuitBreaker, end: BaseException
) -> None:
    fail(breaker, 2)
    fail(breaker, 50, end)
    assert state(breaker) == "closed"
    fail(breaker, 1)
    assert state(breaker) == "open"


def test_calls_from_before_it_opened_do_not_decide(breaker: CircuitBreaker, clock: Clock) -> None:
    ends = (None, AWAY, asyncio.CancelledError())
    early = [breaker.guarded() for _ in range(9)]
    for each in early:
        each.__enter__()

    def end_three() -> None:
        for end in ends:
            early.pop().__exit__(type(end) if end else None, end, None)

    fail(breaker)
    clock.now += 9
    end_three()
    assert state(breaker) == "open"
    assert refused(breaker).retry_after == 1
    clock.now += 1
    with breaker.guarded():
        end_three()
        refused(breaker)
    assert state(breaker) == "closed"
    fail(breaker, 2)
    end_three()
    assert state(breaker) == "closed"
    fail(breaker, 1)
    assert state(breaker) == "open"


def test_of_many_calls_that_end_at_once_the_first_open_it_and_the_rest_change_nothing(clock: Clock) -> None:
    breaker = CircuitBreaker("openai", failures=5, seconds=10, clock=clock)
    calls = [breaker.guarded() for _ in range(500)]
    for each in calls:
        each.__enter__()
    for each in calls:
        clock.now += 0.001
        each.__exit__(ModelTimeout, ModelTimeout("silent"), None)
    assert "failed 5 times" in str(refused(breaker))
    clock.now += 9.6  # ten seconds after the fifth, not yet after the last
    call(breaker)


def test_without_a_number_of_failures_it_never_opens(clock: Clock) -> None:
    breaker = CircuitBreaker("openai", failures=0, seconds=10, clock=clock)
    fail(breaker, 100)
    assert state(breaker) == "closed"


def test_the_log_tells_once_that_it_opened_and_once_that_it_closed(breaker: CircuitBreaker, clock: Clock) -> None:
    with structlog.testing.capture_logs() as entries:
        fail(breaker)
        for _ in range(3):
            refused(breaker)
            clock.now += 10
            fail(breaker, 1)
        clock.now += 10
        call(breaker)
        call(breaker)
    opened, closed = entries
    assert opened == {
        "event": "model_breaker_opened",
        "log_level": "warning",
        "provider": "openai",
        "failures": 3,
        "seconds": 10,
        "error": "ModelUnavailable",
    }
    assert closed == {"event": "model_breaker_closed", "log_level": "info", "provider": "openai", "failures": 6}
