"""``footnote ask "…"``: the answer in a terminal as it is written, then its footnotes.

Exit codes: 0 it was answered, 1 the server failed, 2 it could not be asked, 3 the documents do not answer it, 130
interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import httpx

from footnote.events import Event, events
from footnote.printing import Printed, plain

ANSWERED, FAILED, CANNOT, REFUSED, INTERRUPTED = 0, 1, 2, 3, 130
URL, KEY = "FOOTNOTE_URL", "FOOTNOTE_API_KEY"
HOST, PORT = "FOOTNOTE_SERVER__HOST", "FOOTNOTE_SERVER__PORT"
DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", "8000"
LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (a server listens there, nobody calls it)
"""Where a server is called that listens on all addresses."""
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 180.0
"""Of a server that writes nothing: longer than it waits for its model."""
START = "start one with `make run`, or `python -m server`, or name another with --url"


class CannotAsk(Exception):
    """The question does not reach a server; the text says what to do."""


class Problem(Exception):
    """The server's problem document (RFC 9457)."""

    def __init__(self, document: dict[str, Any], *, status: int | None = None) -> None:
        self.document = document
        said = document.get("detail") or document.get("title") or "the server failed"
        where = "; ".join(f"{each.get('field')}: {each.get('message')}" for each in document.get("errors") or [])
        hint = f" (set {KEY} to an API key)" if status == httpx.codes.UNAUTHORIZED else ""
        super().__init__(f"{said}{f': {where}' if where else ''}{hint}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask; return the exit code."""
    options = parser().parse_args(arguments)
    question = " ".join(options.question)
    try:
        if question == "-":
            question = sys.stdin.read().strip()
        asked = _body(options, question)
        with _client(options.url) as client:
            return _whole(client, asked) if options.json else _streamed(client, asked)
    except (CannotAsk, Problem) as exc:
        print(f"footnote: {plain(str(exc))}", file=sys.stderr)  # noqa: T201 (the command's output)
        return CANNOT if isinstance(exc, CannotAsk) else FAILED
    except KeyboardInterrupt:
        print(file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    except BrokenPipeError:  # whoever read has had enough; what is left to flush must not complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ANSWERED


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = argparse.ArgumentParser(prog="footnote ask", description="Ask a running Footnote server.")
    made.add_argument("question", nargs="+", help="what to ask; - reads it from standard input")
    made.add_argument(
        "--url",
        help=f"of the server (default: ${URL}, else this machine's by ${HOST} and ${PORT}); a key is read from ${KEY}",
    )
    made.add_argument("--collection", metavar="NAME", help="whose documents are asked (default: default)")
    made.add_argument("--mode", metavar="ENGINE", help="hybrid, vector, keyword, …: see docs/querying.md")
    made.add_argument("-k", type=int, metavar="N", help="how many passages the model is given")
    made.add_argument("--filters", metavar="JSON", help="""of metadata: '{"file_name": "a.pdf"}'""")
    made.add_argument("--json", action="store_true", help="print the server's whole answer")
    return made


def _body(options: argparse.Namespace, question: str) -> dict[str, Any]:
    if not question:
        msg = "the question is empty"
        raise CannotAsk(msg)
    try:
        filters = json.loads(options.filters) if options.filters else None
    except ValueError as exc:
        msg = f"--filters is no JSON: {exc}"
        raise CannotAsk(msg) from None
    given = {"collection": options.collection, "mode": options.mode, "k": options.k, "filters": filters}
    return {"question": question, **{name: value for name, value in given.items() if value is not None}}


def _client(url: str | None) -> httpx.Client:
    base = (url or os.environ.get(URL) or own_url()).strip()
    if "://" not in base:
        base = f"http://{base}"
    headers = {"User-Agent": "footnote-ask"}
    if key := os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {key.strip()}"
    timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
    try:
        return httpx.Client(base_url=base, headers=headers, timeout=timeout)
    except (httpx.InvalidURL, ValueError) as exc:  # a key that is no ASCII, too
        msg = f"{base} cannot be asked: {exc}"
        raise CannotAsk(msg) from None


def own_url() -> str:
    """Return the address at which a server with the settings of here, of the environment or ``.env``, listens."""
    from config.environment import given_settings  # takes a while, and who names a server needs none of it

    given = given_settings()
    host = given.get(HOST, DEFAULT_HOST)
    host = LOCAL.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{given.get(PORT, DEFAULT_PORT)}"


def _whole(client: httpx.Client, asked: dict[str, Any]) -> int:
    try:
        response = client.post("query", json=asked)
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise _unreached(client, exc) from None
    answer = _json(response)
    if response.is_error:
        raise Problem(answer, status=response.status_code)
    print(json.dumps(answer, ensure_ascii=False, indent=2))  # noqa: T201 (the command's output)
    return _code(answer.get("finish_reason"))


def _streamed(client: httpx.Client, asked: dict[str, Any]) -> int:
    printed = Printed()
    reason: object = None
    try:
        with client.stream("POST", "query/stream", json=asked) as response:
            _require_stream(response)
            for event in events(response.iter_lines()):
                reason = _shown(event, printed) or reason
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        printed.end_line()
        raise _unreached(client, exc, begun=printed.has_begun) from None
    except Problem:
        printed.end_line()
        raise
    if reason is None:
        printed.end_line()
        msg = "the answer was cut off"
        raise Problem({"detail": msg})
    return _code(reason)


def _require_stream(response: httpx.Response) -> None:
    if response.is_error or "text/event-stream" not in response.headers.get("content-type", ""):
        response.read()
        raise Problem(_json(response), status=response.status_code)


def _shown(event: Event, printed: Printed) -> object:
    """Show an event; return why the answer ended, if it has."""
    if event.name == "error":
        raise Problem(event.data)
    if event.name == "sources":
        printed.sources(event.data.get("citations") or [])
    elif event.name == "reasoning" and event.data.get("retracts"):
        printed.retract()
    elif event.name == "token":
        printed.token(str(event.data.get("token", "")))
    elif event.name == "done":
        printed.done(event.data)
        return event.data.get("finish_reason") or "stop"
    return None


def _code(reason: object) -> int:
    return REFUSED if reason == "no_context" else ANSWERED


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        found = response.json()
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    msg = f"{response.url} answers with status {response.status_code}, but not as Footnote does; is the address right?"
    raise CannotAsk(msg)


def _unreached(client: httpx.Client, exc: Exception, *, begun: bool = False) -> Exception:
    if begun:
        return Problem({"detail": f"the connection was lost within the answer ({type(exc).__name__})"})
    if isinstance(exc, httpx.ReadTimeout):
        return Problem({"detail": f"the server wrote nothing for {SILENCE_SECONDS:g} seconds"})
    said = str(exc) or type(exc).__name__
    return CannotAsk(f"nothing answers at {str(client.base_url).rstrip('/')} ({said}); {START}")


if __name__ == "__main__":
    sys.exit(main())
