"""The page's files as HTTP serves them; `tests/integration/web/` has the page in a browser."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from support.scripted import Connect, Make

from config.settings import AuthSettings, Settings
from server.api import page
from server.api.page import Page, prefers_page
from server.app import create_app

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
MOST_BYTES = 150_000
"""Of all that a browser fetches before it can ask, compressed."""


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("text/*", True),
        ("*/*", False),
        ("", False),
        ("application/json", False),
        ("application/json, text/html;q=0.5", False),
        ("text/html;q=0", False),
        ("text/html;q=nonsense", False),
        ("text/html, application/json", False),
    ],
)
def test_only_who_would_rather_have_html_gets_the_page(accept: str, expected: bool) -> None:
    assert prefers_page(accept) is expected


async def test_the_front_page_is_html_for_browsers_and_json_for_others(scripted: Make, client: Connect) -> None:
    async with client(scripted().app) as http:
        shown = await http.get("/", headers={"Accept": BROWSER})
        told = await http.get("/")
        headed = await http.head("/", headers={"Accept": BROWSER})
    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    assert "Accept" in shown.headers["vary"]
    assert told.json()["name"] == "Footnote"
    assert (headed.status_code, headed.content) == (200, b"")


async def test_nothing_may_run_but_the_pages_own_scripts(scripted: Make, client: Connect) -> None:
    async with client(scripted().app) as http:
        shown = await http.get("/", headers={"Accept": BROWSER})
        script = await http.get(re.findall(r'src="(/web/[^"]+)"', shown.text)[0])
    for answer in (shown, script):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self'; img-src 'self' blob:; ")
        assert "frame-ancestors 'none'" in policy
        assert not re.search(r"unsafe|https?:|data:|\*", policy)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=", shown.text)


async def test_files_are_kept_for_good_and_those_of_another_build_asked_for_again(
    scripted: Make, client: Connect
) -> None:
    made = scripted()
    build = made.app.state.page.build
    async with client(made.app) as http:
        kept = await http.get(f"/web/{build}/style.css")
        other = await http.get("/web/0123456789abcdef/style.css")
        known = await http.get(f"/web/{build}/style.css", headers={"If-None-Match": kept.headers["etag"]})
        index = await http.get("/", headers={"Accept": BROWSER})
    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert other.headers["cache-control"] == index.headers["cache-control"] == "no-cache"
    assert kept.content == other.content
    assert (known.status_code, known.content) == (304, b"")


async def test_files_come_compressed_where_that_is_accepted(scripted: Make, client: Connect) -> None:
    made = scripted()
    path = f"/web/{made.app.state.page.build}/style.css"
    async with client(made.app) as http, http.stream("GET", path, headers={"Accept-Encoding": "br, gzip"}) as answer:
        raw = b"".join([block async for block in answer.aiter_raw()])
        plain = await http.get(path, headers={"Accept-Encoding": "gzip;q=0"})
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw) == plain.content == (page.WEB / "style.css").read_bytes()
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize("name", ["../pyproject.toml", "..%2fpyproject.toml", "no-such.js", "js", "", "index.html"])
async def test_nothing_else_is_served(name: str, scripted: Make, client: Connect) -> None:
    made = scripted()
    async with client(made.app) as http:
        answer = await http.get(f"/web/{made.app.state.page.build}/{name}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_the_page_is_open_and_the_data_is_not(scripted: Make, client: Connect) -> None:
    auth = AuthSettings(mode="required", bootstrap_key=SecretStr("b" * 40))
    async with client(scripted(auth=auth).app) as http:
        assert (await http.get("/", headers={"Accept": BROWSER})).status_code == 200
        told = await http.get("/")
        known = await http.get("/", headers={"Authorization": f"Bearer {'b' * 40}"})
    assert told.status_code == 401
    assert told.headers["www-authenticate"].startswith("Bearer")
    assert known.json()["name"] == "Footnote"


async def test_the_page_can_be_switched_off(scripted: Make, client: Connect) -> None:
    async with client(scripted(page=False).app) as http:
        assert (await http.get("/", headers={"Accept": BROWSER})).json()["name"] == "Footnote"
        assert (await http.get("/web/0/style.css")).status_code == 404


def test_a_server_without_the_files_says_how_to_start_nevertheless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing: Any = None
    monkeypatch.setattr(page.Page.__init__, "__defaults__", (tmp_path,))
    with pytest.raises(FileNotFoundError, match="FOOTNOTE_SERVER__PAGE=false"):
        create_app(Settings(_env_file=None), open_runtime=nothing)
    create_app(Settings(_env_file=None, server={"page": False}), open_runtime=nothing)


async def test_files_are_not_counted_as_requests(scripted: Make, client: Connect) -> None:
    made = scripted()
    taken = []
    take = made.runtime.limits.requests.take

    async def counted() -> Any:
        taken.append(1)
        return await take()

    made.runtime.limits.requests.take = counted
    async with client(made.app) as http:
        await http.get(f"/web/{made.app.state.page.build}/style.css")
        assert not taken
        await http.get("/collections")
    assert taken


def needed(name: str, files: Page, seen: set[str]) -> set[str]:
    """Return a module with all that it imports before it runs."""
    if name in seen:
        return seen
    seen.add(name)
    file = files.file(name)
    assert file is not None, name
    for found in re.findall(rb'(?:\bfrom|\bimport)\s*"(\.[^"]+)"', file.content):
        path = (Path(name).parent / found.decode()).as_posix()
        while "/../" in path:
            path = re.sub(r"[^/]+/\.\./", "", path, count=1)
        needed(path, files, seen)
    return seen


def test_the_page_is_small() -> None:
    files = Page()
    names = needed("js/main.js", files, set()) | {"style.css", "manage.css", "strings/en.js"}
    assert {"vendor/preact.js", "vendor/purify.js", "js/viewer.js"} <= names
    chosen = [file for name in names if (file := files.file(name))]
    assert sum(len(file.compressed or file.content) for file in chosen) < MOST_BYTES


def test_all_modules_are_fetched_at_once() -> None:
    """None is found only when the one that imports it has come."""
    files = Page()
    named = re.findall(r'rel="modulepreload" href="/web/\w+/([^"]+)"', files.index.content.decode())
    assert sorted(named) == sorted(needed("js/main.js", files, set()) - {"js/main.js"})


def test_no_module_writes_markup_or_evaluates_text() -> None:
    """What is untrusted gets into the page as text, or through DOMPurify as nodes."""
    pattern = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|dangerouslySetInnerHTML|\beval\(|new Function"
    )
    modules = [*(page.WEB / "js").glob("*.js"), *(page.WEB / "strings").glob("*.js")]
    assert len(modules) > 10
    assert [path.name for path in modules if pattern.search(path.read_text())] == []


def test_the_page_names_no_other_host() -> None:
    own = [path for path in page.WEB.rglob("*") if path.is_file() and "vendor" not in path.parts]
    named = {match for path in own for match in re.findall(r"https?://[\w.-]+", path.read_text())}
    assert named <= {"http://www.w3.org"}  # the namespace of SVG


def test_the_types_of_what_the_server_answers_are_up_to_date() -> None:
    root = page.WEB.parent
    script, types = "scripts/api_types.py", "web/types/api.d.ts"
    made = subprocess.run([sys.executable, root / script], capture_output=True, text=True, check=True)
    assert made.stdout == (root / types).read_text(), f"run `make format`, or: python {script} > {types}"


def test_types_are_not_served() -> None:
    assert [path for path in Page().paths if path.endswith(".ts")] == []


def test_without_a_compiler_the_check_of_types_fails_and_says_what_is_missing(tmp_path: Path) -> None:
    shutil.copytree(page.WEB.parent / "scripts", tmp_path / "scripts")
    nowhere = {"npm_config_registry": "http://127.0.0.1:9", "npm_config_cache": str(tmp_path / "npm")}
    check = [sys.executable, tmp_path / "scripts/page_types.py"]
    done = subprocess.run(check, env={**os.environ, **nowhere}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"error: .+\n", done.stderr), done.stderr


async def test_a_real_client_reads_the_page(scripted: Make, client: Connect) -> None:
    async with client(scripted().app) as http:
        index = await http.get("/", headers={"Accept": BROWSER})
        for path in re.findall(r'(?:src|href)="(/web/[^"]+)"', index.text):
            answer: httpx.Response = await http.get(path)
            assert answer.status_code == 200, path
