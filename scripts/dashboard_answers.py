"""The dashboard ``Answers``: how fast, how dear and how good they are."""

from __future__ import annotations

from grafana import Dashboard, Panel, Query, Row, Variable
from promql import HERE, RATE, mean, quantile, rate, share

# A retrieval without an answer is counted as one, by its own operation; it would make answers look fast.
ASKED = f'{HERE}, footnote_collection=~"$collection", footnote_operation!="retrieve"'
ANSWER = "footnote_answer_duration_seconds"
FIRST = "footnote_answer_time_to_first_token_seconds"
SCORE = "footnote_answer_top_score"
STAGE = "footnote_stage_duration_seconds"
ANSWERED = f'{ASKED}, footnote_outcome=~"stop|length|extractive|no_context"'


def three(histogram: str) -> list[Query]:
    """Return what people usually see, and what the unlucky do; the last of the three carries the traces."""
    usual = [Query(quantile(part, histogram, where=ASKED), f"p{part * 100:g}") for part in (0.5, 0.95)]
    return [*usual, Query(quantile(0.99, histogram, where=ASKED), "p99", exemplars=True)]


NUMBERS = Row(
    "How many",
    [
        Panel(
            "Answers by outcome",
            [Query(rate(f"{ANSWER}_count", by="footnote_outcome", where=ASKED), "{{footnote_outcome}}")],
            "stop and length: the model answered; extractive: passages without a model; no_context: nothing was found. "
            "All else is a problem, by the name that clients get.",
            unit="ops",
            stacked=True,
        ),
        Panel(
            "Answers by engine",
            [Query(rate(f"{ANSWER}_count", by="footnote_mode", where=ASKED), "{{footnote_mode}}")],
            "Which engine was asked.",
            unit="ops",
            stacked=True,
        ),
        Panel(
            "Streams by ending",
            [
                Query(
                    rate("footnote_stream_endings_total", by="footnote_outcome"),
                    "{{footnote_outcome}}",
                )
            ],
            "stream-abandoned: the reader left and did not come back in time.",
            unit="ops",
            stacked=True,
        ),
    ],
)

SPEED = Row(
    "How fast",
    [
        Panel(
            "Answer, to the last token",
            three(ANSWER),
            "The points are traces: click one to open it in Jaeger and see where its time went.",
            unit="s",
        ),
        Panel("First token", three(FIRST), "What people wait before they can read. The points are traces.", unit="s"),
        Panel(
            "Stages, p95",
            [
                Query(
                    quantile(0.95, STAGE, by="footnote_stage"),
                    "{{footnote_stage}}",
                    exemplars=True,
                )
            ],
            "Embed and rerank are this machine's CPU, retrieve is the database, generate and condense the model; open "
            "and keep are the database, too, for what a conversation reads and writes.",
            unit="s",
        ),
        Panel(
            "Stages, of an average answer",
            [Query(mean(STAGE, by="footnote_stage"), "{{footnote_stage}}")],
            "Where the time goes on the whole.",
            unit="s",
            stacked=True,
        ),
        Panel(
            "Model: first token",
            [
                Query(
                    quantile(
                        0.95,
                        "gen_ai_client_operation_time_to_first_chunk_seconds",
                        by="gen_ai_request_model",
                        where=HERE,
                    ),
                    "{{gen_ai_request_model}}",
                    exemplars=True,
                )
            ],
            "p95 of the model alone: its queue, and reading the prompt.",
            unit="s",
        ),
        Panel(
            "Model: tokens a second",
            [
                Query(
                    quantile(0.5, "footnote_model_output_rate_per_second", by="gen_ai_request_model"),
                    "{{gen_ai_request_model}}",
                )
            ],
            "Median, after the first token. People read about ten a second.",
        ),
    ],
)

QUALITY = Row(
    "How good",
    [
        Panel(
            "Nothing found",
            [
                Query(
                    share(
                        f"{ANSWER}_count", of='footnote_outcome="no_context"', by="footnote_collection", where=ANSWERED
                    ),
                    "{{footnote_collection}}",
                )
            ],
            "Share of questions for which no passage was above the bar. A jump: documents are missing.",
            unit="percentunit",
            top=1,
        ),
        Panel(
            "Best passage's score",
            [
                Query(quantile(0.5, SCORE, where=ASKED), "p50"),
                Query(quantile(0.1, SCORE, where=ASKED), "p10", exemplars=True),
            ],
            "Cosine similarity of the best passage. It sinks before answers get worse.",
            top=1,
        ),
        Panel(
            "Passages found and cited",
            [
                Query(mean("footnote_answer_retrieved", where=ASKED), "found"),
                Query(mean("footnote_answer_cited", where=ASKED), "cited"),
            ],
            "On average. Many found and none cited: the model does not use them, or was not given the right ones.",
        ),
        Panel(
            "Feedback",
            [
                Query(
                    f"sum by (footnote_rating) (increase(footnote_feedback_total{{{HERE}}}[{RATE}]))",
                    "{{footnote_rating}}",
                )
            ],
            "What people thought. Each is on its trace: search Jaeger for the operation footnote.feedback.",
            stacked=True,
        ),
        Panel(
            "Cache hits",
            [
                Query(
                    share("footnote_cache_lookups_total", of='footnote_result="hit"', by="footnote_cache", where=HERE),
                    "{{footnote_cache}}",
                )
            ],
            "answers: given again for the same Idempotency-Key.",
            unit="percentunit",
            top=1,
        ),
    ],
)

PRICE = Row(
    "How dear",
    [
        Panel(
            "Tokens",
            [
                Query(
                    rate("gen_ai_client_token_usage_sum", by="gen_ai_request_model, gen_ai_token_type"),
                    "{{gen_ai_request_model}} {{gen_ai_token_type}}",
                )
            ],
            "Tokens a second that models read (input) and wrote (output).",
        ),
        Panel(
            "Cost an hour",
            [
                Query(
                    f"{rate('footnote_cost_total', by='gen_ai_request_model')} * 3600",
                    "{{gen_ai_request_model}}",
                )
            ],
            "By the settings' price table. A model that is not in it costs nothing here.",
            unit="currencyUSD",
        ),
        Panel(
            "Dearest tenants",
            [
                Query(
                    f"topk(10, sum by (footnote_tenant) (increase(footnote_cost_total{{{HERE}}}[$__range])))",
                    "{{footnote_tenant}}",
                    now=True,
                )
            ],
            "In the time shown; ten at the most. Names are hashed.",
            unit="currencyUSD",
            kind="bargauge",
        ),
    ],
)

ANSWERS = Dashboard(
    uid="footnote-answers",
    title="Footnote: answers",
    says="How fast, how dear and how good the answers are.",
    variables=[
        Variable("instance", 'up{job="footnote"}', "instance"),
        Variable("collection", f"{ANSWER}_count", "footnote_collection"),
    ],
    rows=[NUMBERS, SPEED, QUALITY, PRICE],
)
