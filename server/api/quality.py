"""Quality: golden questions, and evaluations with them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from server.api.context import request_id_of, runtime_of
from server.api.documentation import problem_responses
from server.api.json_body import JsonRoute
from server.api.schemas.pages import PageOut
from server.api.schemas.quality import (
    EvaluationBody,
    EvaluationOut,
    EvaluationsOut,
    EvaluationsQuery,
    GoldenBody,
    GoldenMembers,
    GoldenOut,
    GoldenQuery,
    ImportedOut,
    OfCollection,
    QualityId,
    ReportOut,
)
from server.api.scopes import OPEN, marked, needs

router = APIRouter(tags=["quality"], route_class=JsonRoute, responses=problem_responses(422, 500, 503, 504))
BODY = problem_responses(400, 404, 409, 413, 415)
LINES = {"application/x-ndjson": {"schema": {"type": "string"}}}
SENT_LINES = {
    "requestBody": {
        "required": True,
        "content": {
            "text/plain": {
                "schema": {
                    "type": "string",
                    "description": "A golden question a line, as `python -m evaluation` reads it.",
                }
            }
        },
    }
}
REPORT = {
    # nothing of a report runs, is fetched or is framed: questions and passages in it are somebody else's
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@router.get("/golden", responses=problem_responses(404))
@needs("evaluate")
async def list_golden_questions(page: Annotated[GoldenQuery, Query()], request: Request) -> PageOut[GoldenOut]:
    """List a collection's golden questions, the newest first: one's own, and those that name what one may read."""
    found = await runtime_of(request).golden.store.list(page.collection, limit=page.limit, cursor=page.cursor)
    return PageOut[GoldenOut](items=[GoldenOut.of(each) for each in found.items], next_cursor=found.next_cursor)


@router.post("/golden", status_code=201, responses=BODY)
@needs("evaluate")
async def add_golden_question(body: GoldenBody, request: Request) -> GoldenOut:
    """Keep a golden question: what is right for it, as far as you know it. Its documents have to be there for you."""
    return GoldenOut.of(await runtime_of(request).golden.add(body.collection, body.members()))


@router.post("/golden/import", responses=problem_responses(400, 404, 413), openapi_extra=SENT_LINES)
@needs("evaluate")
async def import_golden_questions(where: Annotated[OfCollection, Query()], request: Request) -> ImportedOut:
    """Keep the golden questions of a file, or the good answers of an export of feedback; a bad line refuses all.

    They may come before the documents that they name; the answer says which of these are not there.
    """
    lines, imported = await runtime_of(request).golden.import_lines(where.collection, await request.body())
    return ImportedOut.of(lines, imported)


@router.get("/golden/export", response_class=Response, responses={200: {"content": LINES}, **problem_responses(404)})
@needs("evaluate")
async def export_golden_questions(where: Annotated[OfCollection, Query()], request: Request) -> Response:
    """Return the golden questions as a file for `python -m evaluation` and for the gate of a re-index."""
    lines = await runtime_of(request).golden.lines(where.collection)
    headers = {"Content-Disposition": f'attachment; filename="{where.collection}.jsonl"'}
    return Response(lines, media_type="application/x-ndjson", headers=headers)


@router.put("/golden/{golden_id}", responses=BODY)
@needs("evaluate")
async def change_golden_question(
    golden_id: Annotated[QualityId, Path()], body: GoldenMembers, request: Request
) -> GoldenOut:
    """Change a golden question: all of it is replaced. A document that it has not named before has to be there."""
    return GoldenOut.of(await runtime_of(request).golden.replace(golden_id, body.members()))


@router.delete("/golden/{golden_id}", status_code=204, responses=problem_responses(404))
@needs("evaluate")
async def delete_golden_question(golden_id: Annotated[QualityId, Path()], request: Request) -> None:
    """Delete a golden question."""
    await runtime_of(request).golden.store.delete(golden_id)


@router.get("/evaluations")
@needs("evaluate")
async def list_evaluations(page: Annotated[EvaluationsQuery, Query()], request: Request) -> EvaluationsOut:
    """List evaluations, the newest first: one's own, an administrator those of the tenant."""
    service = runtime_of(request).evaluations
    found = await service.store.list(limit=page.limit, collection=page.collection, cursor=page.cursor)
    items = [EvaluationOut.of(each) for each in found.items]
    return EvaluationsOut(items=items, next_cursor=found.next_cursor, unavailable=service.unavailable)


@router.post("/evaluations", status_code=202, responses=BODY | problem_responses(501))
@needs("evaluate")
async def begin_evaluation(body: EvaluationBody, request: Request, response: Response) -> EvaluationOut:
    """Ask a collection's golden questions: a job runs `python -m evaluation` as whoever asks, with what he may read."""
    begun = await runtime_of(request).evaluations.begin(
        body.collection, body.to_options(), name=body.name, request_id=request_id_of(request.scope)
    )
    response.headers["Location"] = f"/evaluations/{begun.id}"
    return EvaluationOut.of(begun)


@router.get("/evaluations/reports/{ticket}", include_in_schema=False)
@marked(OPEN)
async def show_report(ticket: Annotated[str, Path(max_length=100)], request: Request) -> Response:
    """Return the report that a ticket opens. The ticket is the key: a browser sends no other with a link."""
    report = await runtime_of(request).evaluations.store.report(ticket)
    return Response(report, media_type="text/html; charset=utf-8", headers=REPORT)


@router.get("/evaluations/{evaluation_id}", responses=problem_responses(404))
@needs("evaluate")
async def get_evaluation(evaluation_id: Annotated[QualityId, Path()], request: Request) -> EvaluationOut:
    """Tell how an evaluation is doing, and what it has found."""
    return EvaluationOut.of(await runtime_of(request).evaluations.store.get(evaluation_id))


@router.delete("/evaluations/{evaluation_id}", status_code=204, responses=problem_responses(404))
@needs("evaluate")
async def delete_evaluation(evaluation_id: Annotated[QualityId, Path()], request: Request) -> None:
    """Delete an evaluation; one that runs is cancelled."""
    await runtime_of(request).evaluations.store.delete(evaluation_id)


@router.get(
    "/evaluations/{evaluation_id}/result",
    response_class=Response,
    responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}}, **problem_responses(404)},
)
@needs("evaluate")
async def get_evaluation_result(evaluation_id: Annotated[QualityId, Path()], request: Request) -> Response:
    """Return what was found, question by question, as `python -m evaluation compare` reads it.

    A result that shows a document which whoever asks may not read, or not any more, is a 404.
    """
    result = await runtime_of(request).evaluations.store.result(evaluation_id)
    return Response(result, media_type="application/json")


@router.post("/evaluations/{evaluation_id}/report", responses=problem_responses(404))
@needs("evaluate")
async def open_evaluation_report(
    evaluation_id: Annotated[QualityId, Path()], request: Request, response: Response
) -> ReportOut:
    """Return an address at which the report can be opened in a browser for two minutes, by whoever has it."""
    ticket = await runtime_of(request).evaluations.store.ticket(evaluation_id)
    response.headers["Cache-Control"] = "no-store"
    return ReportOut(url=f"/evaluations/reports/{ticket}")
