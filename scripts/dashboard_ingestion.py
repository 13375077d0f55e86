"""The dashboard ``Ingestion and generations``: what comes in, and how old what answers is."""

from __future__ import annotations

from grafana import Dashboard, Panel, Query, Row, Variable

INTO = 'footnote_collection=~"$collection"'
STAGE = "footnote_ingestion_stage_duration_seconds"
FAILED = f'{INTO}, footnote_outcome="failed"'


def counted(counter: str, *, by: str) -> str:
    """Return how much was counted in the time shown.

    An ingestion's counters come into being with what its first minute counted, and end with the run: ``increase()``
    would leave that first part out, so what a run's series reached counts in full.
    """
    return f"sum by ({by}) (max_over_time({counter}{{{INTO}}}[$__range]))"


TOTALS = Row(
    "In the time shown",
    [
        Panel(
            "Documents",
            [
                Query(
                    counted("footnote_ingestion_documents_total", by="footnote_outcome"),
                    "{{footnote_outcome}}",
                    now=True,
                )
            ],
            "By what became of them, over the runs of the time shown.",
            kind="bargauge",
        ),
        Panel(
            "Documents that failed",
            [
                Query(
                    f"sum(max_over_time(footnote_ingestion_documents_total{{{FAILED}}}[$__range])) or vector(0)",
                    "failed",
                    now=True,
                )
            ],
            "What was there of them before still answers. The ingestion's report names them.",
            kind="stat",
            steps=[1, 1],
        ),
        Panel(
            "Chunks",
            [Query(counted("footnote_ingestion_chunks_total", by="footnote_result"), "{{footnote_result}}", now=True)],
            "embedded: the model made the vector; reused: the same text had one already.",
            kind="bargauge",
        ),
    ],
)

WORK = Row(
    "At work",
    [
        Panel(
            "Documents by outcome",
            [
                Query(
                    f"sum by (footnote_outcome) (footnote:ingested_documents:increase15m{{{INTO}}})",
                    "{{footnote_outcome}}",
                )
            ],
            "Of the last quarter of an hour, at each moment.",
            stacked=True,
        ),
        Panel(
            "Bytes read",
            [Query("sum(footnote_ingestion_bytes_total)", "bytes")],
            "Of files, by the runs of the moment and of the quarter of an hour before.",
            unit="bytes",
        ),
        Panel(
            "Stages, p95",
            [
                Query(
                    f"histogram_quantile(0.95, sum by (le, footnote_stage) ({STAGE}_bucket))",
                    "{{footnote_stage}}",
                    exemplars=True,
                )
            ],
            "parse: a file; embed: a batch; write: a document. Since the runs began. The points are traces.",
            unit="s",
        ),
    ],
)

AGE = Panel(
    "Generation's age",
    [Query(f"min by (footnote_collection) (footnote_generation_age_seconds{{{INTO}}})", "{{footnote_collection}}")],
    "Since the active generation was last written to.",
    unit="s",
)

STOCK = Row(
    "What answers",
    [
        AGE,
        Panel(
            "Documents that answer",
            [
                Query(
                    f"max by (footnote_collection) (footnote_collection_documents{{{INTO}}})", "{{footnote_collection}}"
                )
            ],
            "Of the active generations. A drop: a generation was switched, or documents were deleted.",
        ),
        Panel(
            "Chunks that answer",
            [Query(f"max by (footnote_collection) (footnote_collection_chunks{{{INTO}}})", "{{footnote_collection}}")],
            "0: the collection is empty, and every question to it finds nothing.",
        ),
    ],
)

INGESTION = Dashboard(
    uid="footnote-ingestion",
    title="Footnote: ingestion and generations",
    says="What comes in, and how old what answers is.",
    variables=[Variable("collection", "footnote_collection_documents", "footnote_collection")],
    rows=[TOTALS, WORK, STOCK],
)
