from __future__ import annotations

import io
import json
import logging
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from config.errors import FootnoteError
from config.logging import LOG_BYTES, configure
from config.settings import LogSettings, SettingsError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level, config = root.handlers[:], root.level, structlog.get_config()
    yield io.StringIO()
    structlog.configure(**config)
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = handlers, level


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_level_name_time_and_request_id(out: io.StringIO) -> None:
    configure(LogSettings(), stream=out)
    structlog.contextvars.bind_contextvars(request_id="r-1")
    structlog.get_logger("footnote.test").info("done", count=3)
    (line,) = lines(out)
    assert line.pop("timestamp")
    assert line == {"event": "done", "count": 3, "level": "info", "logger": "footnote.test", "request_id": "r-1"}


def test_a_setting_with_a_name_of_the_last_release_is_one_line_of_warning(
    out: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTNOTE_CACHE__REDIS_TTL", "60")
    monkeypatch.setenv("FOOTNOTE_CACHE__REDIS_URL", "redis://:hunter2@host/0")
    configure(LogSettings(), stream=out)
    assert [(line["level"], line["event"]) for line in lines(out)] == [("warning", "outdated setting")] * 2
    assert "FOOTNOTE_REDIS__URL" in out.getvalue()
    assert "hunter2" not in out.getvalue()


def test_lines_of_libraries_look_the_same(out: io.StringIO) -> None:
    configure(LogSettings(), stream=out)
    structlog.contextvars.bind_contextvars(request_id="r-1")
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)
    (line,) = lines(out)
    assert line["event"] == "Started server process [7]"
    assert (line["logger"], line["level"], line["request_id"]) == ("uvicorn.error", "info", "r-1")


@pytest.mark.parametrize("level", ["debug", "info"])
def test_libraries_that_log_prompts_at_debug_are_not_heard(out: io.StringIO, level: str) -> None:
    configure(LogSettings(level=level), stream=out)
    logging.getLogger("openai._base_client").debug("Request options: %s", {"prompt": "private"})
    logging.getLogger("httpx").info("HTTP Request: POST http://model")
    assert out.getvalue() == ""


def test_the_level_is_honoured(out: io.StringIO) -> None:
    configure(LogSettings(level="warning"), stream=out)
    log = structlog.get_logger("footnote.levels")
    log.info("quiet")
    log.warning("loud")
    assert [line["event"] for line in lines(out)] == ["loud"]


def test_questions_prompts_and_keys_are_masked(out: io.StringIO) -> None:
    configure(LogSettings(), stream=out)
    structlog.get_logger("footnote.mask").info("asked", question="private", prompt="private", api_key="private")
    assert "private" not in out.getvalue()


def fail(message: str) -> None:
    try:
        raise KeyError(message)  # noqa: TRY301 (the test needs a cause)
    except KeyError as exc:
        msg = f"cannot read {message}"
        raise ValueError(msg) from exc


def test_an_exception_is_told_by_type_and_frames_not_by_a_message_that_may_quote_data(out: io.StringIO) -> None:
    configure(LogSettings(), stream=out)
    try:
        fail("text of a document")
    except ValueError:
        structlog.get_logger("footnote.exc").exception("failed")
    (line,) = lines(out)
    told = str(line["exception"])
    assert "builtins.ValueError" in told
    assert "caused by\nbuiltins.KeyError" in told
    assert "in fail" in told
    assert "text of a document" not in out.getvalue()


def test_the_message_of_an_error_of_ours_is_told(out: io.StringIO) -> None:
    configure(LogSettings(), stream=out)
    structlog.get_logger("footnote.ours").error("failed", exc_info=FootnoteError("the database is away"))
    assert "the database is away" in out.getvalue()


def test_debug_tells_every_message(out: io.StringIO) -> None:
    configure(LogSettings(level="debug"), stream=out)
    structlog.get_logger("footnote.debug").error("failed", exc_info=ValueError("all of it"))
    assert "all of it" in out.getvalue()


def test_library_exceptions_go_the_same_way(out: io.StringIO) -> None:
    configure(LogSettings(), stream=out)
    try:
        fail("text of a document")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    assert "text of a document" not in out.getvalue()
    assert "builtins.ValueError" in str(lines(out)[0]["exception"])


PROGRAM = """
import structlog
from config.logging import configure
from config.settings import LogSettings
configure(LogSettings())
structlog.get_logger("footnote.program").info("hello", n=1)
"""


def test_auto_is_json_in_a_pipe_and_goes_to_stderr() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert json.loads(done.stderr)["event"] == "hello"


def test_auto_is_for_people_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, stderr=theirs, check=True)
    shown = os.read(ours, 4096).decode()
    assert "hello" in shown
    assert not shown.startswith("{")


def test_with_a_file_all_lines_are_there_and_people_see_our_warnings_and_what_is_shown(tmp_path: Path) -> None:
    told = """
log = structlog.get_logger("footnote.program")
log.info("opening", shown=True)
log.warning("the model is away", detail="nobody listens", model="m")
log.warning("call failed", model="m", reason="the stream broke", detail="")
log.warning("call failed", model="m", reason="it is refused", detail="no such key")
import logging
logging.getLogger("library").warning("consider something")
"""
    program = PROGRAM.replace("LogSettings()", f"LogSettings(file={str(tmp_path / 'new' / 'log')!r})") + told
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == [
        "opening",
        "warning: the model is away: nobody listens (model m)",
        "warning: call failed: the stream broke (model m)",
        "warning: call failed: it is refused: no such key (model m)",
    ]
    lines = [json.loads(line) for line in (tmp_path / "new" / "log").read_text().splitlines()]
    assert [line["event"] for line in lines] == [
        "hello",
        "opening",
        "the model is away",
        "call failed",
        "call failed",
        "consider something",
    ]
    assert "shown" not in lines[1]


def test_a_long_log_file_is_put_aside_at_a_start_and_one_that_cannot_be_written_to_is_named(
    out: io.StringIO, tmp_path: Path
) -> None:
    assert not out.getvalue()
    file = tmp_path / "log"
    file.write_bytes(b"x" * (LOG_BYTES + 1))
    configure(LogSettings(file=file))
    structlog.get_logger("footnote.test").info("again")
    assert file.read_text().count("\n") == 1
    assert (tmp_path / "log.1").stat().st_size == LOG_BYTES + 1
    with pytest.raises(SettingsError, match="FOOTNOTE_LOG__FILE"):
        configure(LogSettings(file=file / "below"))


def test_the_module_brings_no_web_framework_and_no_database() -> None:
    heavy = ("fastapi", "starlette", "asyncpg", "llama_index")
    program = f"import sys, config.logging; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
