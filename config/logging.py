"""Logging: one line per event, as JSON or for a terminal, from our code (structlog) and from libraries (stdlib)."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from config.environment import old_names_in_use
from config.errors import FootnoteError
from config.settings import LogSettings

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
HIDDEN = frozenset(
    {"answer", "api_key", "authorization", "messages", "password", "prompt", "query", "question", "secret", "text"}
)
# messages of these are about code and the machine; they never quote data
TELLING = (FootnoteError, OSError, ImportError, NameError, AttributeError, TypeError, NotImplementedError)


def configure(settings: LogSettings, *, stream: TextIO | None = None) -> None:
    """Send every log line of this process to `stream` (None: stderr); call it once, at startup.

    Lines carry request and trace ids. Questions, prompts and secrets are left out: fields with such names are masked,
    and exceptions are logged with type and frames, with the message only if it cannot quote data (``level = "debug"``:
    always). Libraries are logged from WARNING up, whatever the level: some of them log whole prompts at DEBUG. Each
    setting that has a name of the last release is one warning.
    """
    out = stream or sys.stderr
    level = LEVELS[settings.level]
    as_json = settings.format == "json" or (settings.format == "auto" and not out.isatty())
    prepare: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
        _mask,
        _ExceptionText(messages=level == logging.DEBUG),
    ]
    render: Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback, sort_keys=False
        )
    )
    structlog.configure(
        processors=[*prepare, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # written directly: through the standard library a line would cost five times as much
        logger_factory=lambda *args: _Lines(out, name=str(args[0]) if args else "footnote"),
        cache_logger_on_first_use=True,
    )
    _route_standard_library(out, level, prepare, render)
    for sentence in old_names_in_use():
        structlog.get_logger(__name__).warning("outdated setting", detail=sentence)


class _Lines(structlog.WriteLogger):
    """Writes lines, with the name of the module that logs them."""

    def __init__(self, file: TextIO, *, name: str) -> None:
        super().__init__(file)
        self.name = name


def _route_standard_library(out: TextIO, level: int, prepare: list[Processor], render: Processor) -> None:
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=prepare,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(level, logging.WARNING))
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).setLevel(max(level, logging.INFO))
    logging.captureWarnings(True)


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    otel = sys.modules.get("opentelemetry.trace")  # if it has not been imported, there is no span
    if otel is not None:
        context = otel.get_current_span().get_span_context()
        if context.is_valid:
            event["trace_id"] = f"{context.trace_id:032x}"
            event["span_id"] = f"{context.span_id:016x}"
    return event


def _mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name in HIDDEN & event.keys():
        event[name] = "[hidden]"
    return event


class _ExceptionText:
    """Turns ``exc_info`` into ``exception``: types, frames and causes, newest first."""

    def __init__(self, *, messages: bool) -> None:
        self._messages = messages

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        exc = _exception(event.pop("exc_info", None))
        if exc is not None:
            event["exception"] = "\n".join(self._lines(exc, seen=set()))
        return event

    def _lines(self, exc: BaseException, *, seen: set[int]) -> Iterator[str]:
        seen.add(id(exc))
        told = self._messages or isinstance(exc, TELLING)
        message = exc if told else "[message hidden: it may quote data]"
        yield f"{type(exc).__module__}.{type(exc).__qualname__}: {message}"
        for frame in reversed(traceback.extract_tb(exc.__traceback__)):
            yield f"  at {frame.filename}:{frame.lineno} in {frame.name}"
        causes = list(exc.exceptions) if isinstance(exc, BaseExceptionGroup) else []
        if exc.__cause__ is not None:
            causes.append(exc.__cause__)
        elif exc.__context__ is not None and not exc.__suppress_context__:
            causes.append(exc.__context__)
        for cause in causes:
            if id(cause) not in seen:
                yield "caused by"
                yield from self._lines(cause, seen=seen)


def _exception(exc_info: Any) -> BaseException | None:  # noqa: ANN401 (what logging calls accept)
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return exc_info[1] if isinstance(exc_info[1], BaseException) else None
    return sys.exc_info()[1] if exc_info else None
