"""Logging: one line per event, as JSON or for a terminal, from our code (structlog) and from libraries (stdlib)."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from config.environment import old_names_in_use
from config.errors import FootnoteError
from config.settings import LogSettings, SettingsError

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
LOG_BYTES = 10 * 1024**2
"""Above which a log file is put aside at a start, as ``….1``."""
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

    Where the settings name a file, all lines go there, and standard error gets those for people: our own warnings, and
    what is logged with ``shown=True``.

    Raises:
        SettingsError: the file cannot be written to.

    """
    out = stream or (_opened(settings.file) if settings.file else sys.stderr)
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
    for_people = _ForPeople(is_on=settings.file is not None and stream is None)
    render: Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback, sort_keys=False
        )
    )
    structlog.configure(
        processors=[*prepare, for_people, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # written directly: through the standard library a line would cost five times as much
        logger_factory=lambda *args: _Lines(out, name=str(args[0]) if args else "footnote"),
        cache_logger_on_first_use=True,
    )
    _route_standard_library(out, level, prepare, render)
    for sentence in old_names_in_use():
        structlog.get_logger(__name__).warning("outdated setting", detail=sentence)


def _opened(path: Path) -> TextIO:
    try:
        path = path.expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and not path.is_symlink() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_name(f"{path.name}.1"))
        return path.open("a", encoding="utf-8")  # it stays open as long as the process lives
    except OSError as exc:
        msg = f"FOOTNOTE_LOG__FILE: {path} cannot be written to: {exc.strerror or exc}"
        raise SettingsError(msg) from exc


class _ForPeople:
    """Prints warnings, and what is ``shown``, in a line without names of modules and times; drops that mark."""

    def __init__(self, *, is_on: bool) -> None:
        self._is_on = is_on

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        shown, level = event.pop("shown", False), str(event.get("level", "info"))
        if self._is_on and (shown or _is_warning(level)):
            sys.stderr.write(f"{_sentence(event, level)}\n")  # as it is now: a bar may be below it
            sys.stderr.flush()
        return event


_NOT_TOLD = frozenset({"event", "level", "logger", "timestamp", "exception", "reason", "detail", "trace_id", "span_id"})


def _is_warning(level: str) -> bool:
    return LEVELS.get(level, logging.ERROR) >= logging.WARNING


def _sentence(event: EventDict, level: str) -> str:
    before = f"{level}: " if _is_warning(level) else ""
    said = ": ".join(str(event[name]) for name in ("event", "reason", "detail") if event.get(name))
    rest = ", ".join(f"{name} {value}" for name, value in event.items() if name not in _NOT_TOLD)
    return f"{before}{said}" + (f" ({rest})" if rest else "")


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
