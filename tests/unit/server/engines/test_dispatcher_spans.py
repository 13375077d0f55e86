"""LlamaIndex's spans as OpenTelemetry's: what is in them, where they hang, and that nothing of them is kept."""

import asyncio
import contextvars
import gc
import json
import threading
from itertools import pairwise

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.dispatcher import instrument_tags
from llama_index_instrumentation.span import SimpleSpan
from opentelemetry import context, trace
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from config.telemetry.spans import Content
from server.engines import dispatcher_spans as module
from server.engines.dispatcher_spans import DispatcherSpans, traced_dispatcher

SECRET = "wombat-77-secret"
dispatcher = get_dispatcher("tests.dispatcher_spans")


class Retriever(BaseRetriever):
    def _retrieve(self, query):
        if "nothing" in query.query_str:
            raise ValueError(SECRET)
        return [NodeWithScore(node=TextNode(text=f"{SECRET} {number}"), score=0.5) for number in range(3)]


@pytest.fixture(autouse=True)
def _context_of_its_own():
    """Leave nothing behind: what a dispatcher's span makes current may stay so, where its work goes on elsewhere."""
    token = context.attach(context.Context())
    yield
    context.detach(token)


@dispatcher.span
def inner(argument):
    return argument


@dispatcher.span
def outer(argument):
    return inner(argument)


@dispatcher.span
async def ainner(argument):
    await asyncio.sleep(0)
    return argument


@dispatcher.span
async def aouter(argument):
    return await ainner(argument)


@dispatcher.span
async def wait_for_ever():
    await asyncio.Event().wait()


@dispatcher.span
def begin_in_background():
    return asyncio.ensure_future(ainner("later"))


@dispatcher.span
def fail(error):
    raise error


@pytest.fixture
def exported(monkeypatch):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return exporter


@pytest.fixture
def handler(exported):  # noqa: ARG001 (the provider must be there first)
    with traced_dispatcher() as opened:
        yield opened
    assert kept(opened) == 0


@pytest.fixture
def spans(handler, exported):  # noqa: ARG001 (the handler makes them)
    """Return a function from names to spans that have ended."""

    def named(*names):
        found = {span.name: span for span in exported.get_finished_spans()}
        return [found[name] for name in names]

    return named


def kept(handler: DispatcherSpans) -> int:
    held = (
        handler.all_spans,
        handler.open_spans,
        handler.completed_spans,
        handler.dropped_spans,
        handler.current_span_ids,
        handler._context_tokens,
        handler._previous_contexts,
        handler._events_by_span,
    )
    return sum(len(each) for each in held)


def is_below(child, parent):
    return child.parent is not None and child.parent.span_id == parent.context.span_id


def test_calls_are_spans_under_each_other_and_under_the_current_span(spans):
    with trace.get_tracer("tests").start_as_current_span("request"):
        outer(1)
        assert trace.get_current_span().name == "request"
    top, above, below = spans("request", "outer", "inner")
    assert is_below(above, top)
    assert is_below(below, above)
    assert not trace.get_current_span().get_span_context().is_valid


async def test_asynchronous_calls_at_the_same_time_keep_to_their_own_parents(spans, exported):
    async def request(number):
        with trace.get_tracer("tests").start_as_current_span(f"request {number}"):
            await aouter(number)

    await asyncio.gather(*(request(number) for number in range(5)))
    ended = exported.get_finished_spans()
    assert len(ended) == 15
    for number in range(5):
        (request_span,) = spans(f"request {number}")
        (above,) = [span for span in ended if is_below(span, request_span)]
        (below,) = [span for span in ended if is_below(span, above)]
        assert (above.name, below.name) == ("aouter", "ainner")


def test_a_call_on_a_thread_is_under_the_span_whose_context_the_thread_has(spans):
    with trace.get_tracer("tests").start_as_current_span("request"):
        thread = threading.Thread(target=contextvars.copy_context().run, args=(inner, 1))
        thread.start()
        thread.join()
    request, below = spans("request", "inner")
    assert is_below(below, request)


async def test_a_retriever_tells_how_much_it_found_and_none_of_it(spans, exported):
    retriever = Retriever()
    retriever.retrieve(SECRET)
    await retriever.aretrieve(SECRET)
    for span in spans("Retriever.retrieve", "Retriever.aretrieve"):
        assert dict(span.attributes) == {"gen_ai.operation.name": "retrieval", "footnote.retrieved": 3}
        assert span.events == ()
    assert {span.name.partition(".")[2] for span in exported.get_finished_spans()} == {"retrieve", "aretrieve"}


@pytest.mark.usefixtures("handler")
def test_a_method_that_calls_its_base_class_s_is_one_span(exported):
    class Special(Retriever):
        def retrieve(self, query):
            return super().retrieve(query)

    assert len(Special().retrieve("x")) == 3
    assert [span.name for span in exported.get_finished_spans()] == ["Special.retrieve"]


@pytest.mark.usefixtures("handler")
def test_passages_are_told_where_the_operator_lets_content_in(exported, monkeypatch):
    monkeypatch.setattr("config.telemetry.spans._content", Content("full"))
    Retriever().retrieve("x")
    (span,) = exported.get_finished_spans()
    told = json.loads(span.attributes["gen_ai.retrieval.documents"])
    assert [(each["content"], each["score"]) for each in told] == [(f"{SECRET} {number}", 0.5) for number in range(3)]


@pytest.mark.usefixtures("handler")
def test_nothing_that_is_passed_returned_tagged_or_raised_is_in_a_span(exported):
    with instrument_tags({"user": SECRET}):
        outer({"question": SECRET})
        with pytest.raises(ValueError, match=SECRET):
            Retriever().retrieve(f"nothing {SECRET}")
    assert len(exported.get_finished_spans()) == 3
    assert SECRET not in "".join(span.to_json() for span in exported.get_finished_spans())


@pytest.mark.parametrize("error", [ValueError(), ValueError(SECRET), KeyboardInterrupt()])
def test_an_error_with_or_without_a_message_is_told_by_its_kind(spans, error):
    with pytest.raises(type(error)):
        fail(error)
    (span,) = spans("fail")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert [event.name for event in span.events] == ["exception"]
    assert set(span.events[0].attributes) == {"exception.type"}


def test_an_error_is_recorded_where_it_happened_only(spans):
    @dispatcher.span
    def above():
        fail(ValueError())

    with pytest.raises(ValueError, match=r"^$"):
        above()
    happened, passed = spans("fail", above.__qualname__)
    assert (len(happened.events), len(passed.events)) == (1, 0)
    assert passed.status.status_code == StatusCode.ERROR


async def test_a_cancelled_call_has_ended_and_has_not_failed(spans):
    task = asyncio.create_task(wait_for_ever())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (span,) = spans("wait_for_ever")
    assert span.status.status_code == StatusCode.UNSET
    assert span.attributes["footnote.outcome"] == "cancelled"


async def test_a_call_that_returns_a_future_lasts_until_that_is_done(spans):
    assert await asyncio.create_task(in_background()) == "later"
    await asyncio.sleep(0)
    above, below = spans("begin_in_background", "ainner")
    assert above.end_time >= below.end_time


async def in_background():
    return await begin_in_background()


async def test_nothing_is_kept_of_a_thousand_calls(handler, exported):
    async def all_kinds():
        outer(1)
        await aouter(1)
        Retriever().retrieve("x")
        with pytest.raises(ValueError, match=r"^$"):
            fail(ValueError())
        task = asyncio.create_task(wait_for_ever())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def objects():
        exported.clear()
        gc.collect()
        return sum(isinstance(each, SimpleSpan | Span) for each in gc.get_objects())

    await all_kinds()
    before = objects()
    for _ in range(200):
        await asyncio.create_task(all_kinds())
    assert kept(handler) == 0
    assert objects() == before


def test_spans_that_nobody_ends_are_bounded_and_their_loss_moves_no_other(handler, exported, monkeypatch):
    monkeypatch.setattr(module, "MAX_OPEN", 3)
    with trace.get_tracer("tests").start_as_current_span("request"):
        for number in range(10):
            handler.span_enter(id_=f"Engine.query{number}-id", bound_args=None)
            assert trace.get_current_span().name == f"Engine.query{number}"
    assert len(handler.all_spans) == len(handler.open_spans) == len(handler._context_tokens) == 3
    for number in reversed(range(10)):
        handler.span_exit(id_=f"Engine.query{number}-id", bound_args=None)
    ended = {span.name: span for span in exported.get_finished_spans()}
    names = ["request", *(f"Engine.query{number}" for number in range(10))]
    assert set(ended) == set(names)
    assert all(is_below(ended[below], ended[above]) for above, below in pairwise(names))


def test_the_dispatcher_is_left_as_it_was(exported):
    before = list(get_dispatcher().span_handlers)
    with traced_dispatcher() as handler:
        assert handler in get_dispatcher().span_handlers
    assert get_dispatcher().span_handlers == before
    outer(1)
    assert exported.get_finished_spans() == ()
