"""`/golden` and `/evaluations` over HTTP, and the policy that a report comes with."""

from __future__ import annotations

import json

import pytest
from support.scripted import Connect, Make

from config.extras import ExtraMissing
from server.services import quality


async def test_golden_questions_go_in_and_out_as_lines(scripted: Make, client: Connect) -> None:
    lines = (
        b'{"question": "A?", "documents": ["a.md"], "grades": {"a.md": 2}}\n{"question": "B?", "unanswerable": true}\n'
    )
    async with client(scripted().app) as http:
        sent = await http.post("/golden/import", content=lines, headers={"content-type": "text/plain"})
        assert sent.json() == {"lines": 2, "added": 2, "missing": 1, "missing_documents": ["a.md"]}
        again = await http.post("/golden/import", content=lines)
        assert again.json() == {"lines": 2, "added": 0, "missing": 0, "missing_documents": []}
        taken = await http.get("/golden/export")
        assert [json.loads(line) for line in taken.text.splitlines()] == [
            json.loads(line) for line in lines.splitlines()
        ]
        assert taken.headers["content-disposition"] == 'attachment; filename="default.jsonl"'


async def test_a_bad_line_refuses_all_and_is_named(scripted: Make, client: Connect) -> None:
    async with client(scripted().app) as http:
        for content in (b'{"question": "A?"}\n{"answer": 1}', b"\xff", b"", b"[]", b'{"question": "A?", "x": 1}'):
            refused = await http.post("/golden/import", content=content)
            assert refused.status_code == 422, content
            assert refused.json()["errors"][0]["field"] == "golden"
        assert (await http.get("/golden")).json() == {"items": [], "next_cursor": None}


async def test_what_does_not_go_together_is_refused(scripted: Make, client: Connect) -> None:
    async with client(scripted().app) as http:
        for body in (
            {"question": "A?", "unanswerable": True, "documents": ["a.md"]},
            {"question": "A?", "grades": {"b.md": 2}},
            {"question": "A?", "passages": [{"start": 1}]},
            {"question": "A?", "filters": {"key": "x"}},
        ):
            refused = await http.post("/golden", json=body)
            assert refused.status_code == 422, body
        made = await http.post("/golden", json={"question": "A?", "passages": [{"text": "x"}], "documents": ["doc-1"]})
        assert made.status_code == 201
        assert made.json()["golden"] == {"question": "A?", "documents": ["doc-1"], "passages": [{"text": "x"}]}
        assert made.json()["titles"] == {"doc-1": "Page 1"}
        assert (await http.post("/golden", json={"question": "A?"})).status_code == 409
        changed = await http.put(f"/golden/{made.json()['id']}", json={"question": "C?"})
        assert changed.json()["golden"] == {"question": "C?"}
        assert (await http.delete(f"/golden/{made.json()['id']}")).status_code == 204
        assert (await http.delete(f"/golden/{made.json()['id']}")).status_code == 404


async def test_a_document_that_is_not_there_is_refused_by_the_name_of_its_field(
    scripted: Make, client: Connect
) -> None:
    async with client(scripted().app) as http:
        refused = await http.post("/golden", json={"question": "A?", "documents": ["docs/1.md", "nothing.md"]})
        assert refused.status_code == 422
        reason = "the collection has no such document: 'nothing.md'"
        assert refused.json()["errors"] == [{"field": "documents", "reason": reason}]
        assert (await http.get("/golden")).json()["items"] == []


async def test_an_evaluation_needs_golden_questions_and_the_extra(
    scripted: Make, client: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client(scripted().app) as http:
        assert (await http.post("/evaluations", json={})).status_code == 422
        await http.post("/golden", json={"question": "A?"})
        for engines in ([], ["hybrid; rm"], ["hybrid"] * 7):
            assert (await http.post("/evaluations", json={"engines": engines})).status_code == 422
        begun = await http.post("/evaluations", json={"engines": ["hybrid", "hybrid+rerank"], "name": "x"})
        assert begun.status_code == 202
        assert begun.headers["location"] == f"/evaluations/{begun.json()['id']}"
        assert begun.json()["questions"] == 1

        def missing(extra: str, *, purpose: str) -> None:
            msg = f"{purpose} needs {extra}"
            raise ExtraMissing(msg)

        monkeypatch.setattr(quality, "require_extra", missing)
        refused = await http.post("/evaluations", json={})
        assert (refused.status_code, refused.json()["type"]) == (501, "/problems/extra-missing")
        assert refused.json()["detail"] == "an evaluation needs evaluation"
        assert (await http.get("/evaluations")).json()["unavailable"] == "an evaluation needs evaluation"


async def test_a_report_comes_with_a_policy_that_lets_nothing_run(scripted: Make, client: Connect) -> None:
    async with client(scripted().app) as http:
        await http.post("/golden", json={"question": "A?"})
        own = (await http.post("/evaluations", json={})).json()["id"]
        url = (await http.post(f"/evaluations/{own}/report")).json()["url"]
        report = await http.get(url)
        assert report.headers["content-type"] == "text/html; charset=utf-8"
        policy = report.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert policy.endswith("; sandbox")
        assert report.headers["cache-control"] == "no-store"
        assert report.headers["referrer-policy"] == "no-referrer"
        assert (await http.get("/evaluations/reports/x")).status_code == 404
