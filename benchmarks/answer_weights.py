"""The numbers in `server.engines.quoting`: weights of the ranking and of the refusal, from docqa and XQuAD.

The ranking is a conditional logit, whose prior are the weights as they stand; refusal is a logistic regression over
answerable questions and others, in which each set weighs the same. Folds tell what the weights are worth where they
were not fitted. What is printed is copied into the modules by hand, and judged by ``python -m benchmarks answers``.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmarks.answers import Asked, ingest, read_docqa, read_xquad
from benchmarks.figures import table
from benchmarks.laboratory import ROOT, Laboratory, open_laboratory
from embedding.embedder import Embedder
from embedding.opening import open_embedder
from server.engines.quoting.composing import composed, quoted
from server.engines.quoting.questions import looked_up, understand
from server.engines.quoting.ranking import WEIGHTS, Ranked, by_words, embedded_text, features
from server.engines.quoting.refusal import RATES, best_coverage
from server.engines.quoting.units import Source, units
from server.engines.quoting.words import Words
from storage.collections.collections import Collections
from storage.database import Database
from storage.generation import Generation
from storage.search.word_weights import word_weights

WORDS = Words("english")
PRIOR_STRENGTH = 3.0
SHRUNK = 0.6  # share of the prior in what is taken: fitted weights alone did worse on questions held back
XQUAD_WEIGHT = 0.2  # of a question; docqa has fewer, of more kinds
COSINE_SHARE = 1 / 3  # of its fitted weight in refusal: with all of it fewer near topics are refused at the same rate
FOLDS = 8
Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Example:
    """A question with its best units, their features and which of them are right; and what refusal looks at."""

    asked: Asked
    chosen: Sequence[Ranked]
    features: Vector
    right: NDArray[np.bool_]
    covered: float
    cosine: float
    is_foreign: bool
    weight: float = 1.0


def run(options: argparse.Namespace) -> str:
    """Fit; return the weights, and what they are worth."""
    data = options.data or ROOT.parent / "shared" / "data"
    with open_laboratory(options.folder) as laboratory:
        ingest(laboratory, data)
        docqa, paragraphs = read_docqa(data), read_xquad(data)
        with laboratory.serving("server", LLM__PROVIDER="extractive", LOG__LEVEL="warning") as url:
            sets = asyncio.run(_examples(laboratory, url, docqa, paragraphs))
    return f"{_ranking(sets)}\n\n{_sureness(sets)}"


async def _examples(
    laboratory: Laboratory, url: str, docqa: Sequence[Asked], paragraphs: Sequence[Asked]
) -> dict[str, list[Example]]:
    settings = laboratory.settings()
    database = await Database.open(laboratory.url, settings=settings.database)
    embedder = open_embedder(settings)
    collections = Collections(database)
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:

        async def read(questions: Sequence[Asked], collection: str, *, removed: bool = False) -> list[Example]:
            generation = await collections.active(collection)
            return [
                await _example(
                    each, removed, client=client, database=database, generation=generation, embedder=embedder
                )
                for each in questions
            ]

        answerable = [each for each in docqa if each.is_answerable]
        sets = {
            "docqa": await read(answerable, "docqa"),
            "xquad": [replace(each, weight=XQUAD_WEIGHT) for each in await read(paragraphs, "xquad")],
            "off-topic": await read([each for each in docqa if each.kind == "off-topic"], "docqa"),
            "near-topic": await read([each for each in docqa if each.kind == "near-topic"], "docqa"),
            "docqa, page taken out": await read(answerable, "docqa", removed=True),
            "xquad, paragraph taken out": await read(paragraphs, "xquad", removed=True),
            "xquad's questions of docqa": await read(paragraphs, "docqa"),
            "docqa's questions of xquad": await read(docqa, "xquad"),
        }
    embedder.close()
    await database.close()
    return sets


async def _example(
    asked: Asked,
    removed: bool,  # noqa: FBT001 (whether its document is filtered out)
    *,
    client: httpx.AsyncClient,
    database: Database,
    generation: Generation,
    embedder: Embedder,
) -> Example:
    body: dict[str, Any] = {"question": asked.text, "collection": generation.collection, "k": 8}
    if removed:
        body["filters"] = {"filters": [{"key": "source", "value": asked.source, "operator": "!="}]}
    found = (await client.post("/retrieve", json=body)).raise_for_status().json()["results"]
    sources = [
        Source(
            place,
            each["text"],
            name=f"{each['title'] or ''} {each['metadata'].get('file_name') or ''}",
            heading=each["heading"] or "",
            document=each["document_id"],
            start=each["start"],
            end=each["end"],
        )
        for place, each in enumerate(found, start=1)
    ]
    weights = await word_weights(database, generation, words=looked_up(asked.text, WORDS))
    question = understand(asked.text, weights, words=WORDS, language=generation.chunking.language)
    cut = units(sources)
    chosen = by_words(question, cut, words=WORDS)
    vectors = await embedder.queries([asked.text, *(embedded_text(each.unit) for each in chosen)])
    rows = [
        {**features(question, each.unit, words=WORDS), "cosine": float(vector @ vectors[0])}
        for each, vector in zip(chosen, vectors[1:], strict=True)
    ]
    return Example(
        asked,
        chosen,
        np.array([[row[name] for name in WEIGHTS] for row in rows]).reshape(len(rows), len(WEIGHTS)),
        np.array(
            [asked.is_right(each.unit.shown[:240]) and asked.source in _source(each, found) for each in chosen], bool
        ),
        covered=best_coverage(question, cut, words=WORDS),
        cosine=max((each["scores"].get("dense") or 0.0 for each in found), default=0.0),
        is_foreign=question.is_foreign,
    )


def _source(ranked: Ranked, found: Sequence[Mapping[str, Any]]) -> str:
    return str(found[ranked.unit.number - 1]["source"])


def _ranking(sets: Mapping[str, Sequence[Example]]) -> str:
    docqa, paragraphs = list(sets["docqa"]), list(sets["xquad"])
    half = len(paragraphs) // 2
    random.Random(0).shuffle(docqa)  # noqa: S311 (folds)
    held_back = [
        _judged(
            example,
            _shrunk(_logit([each for place, each in enumerate(docqa) if place % FOLDS != fold] + paragraphs[:half])),
        )
        for fold in range(FOLDS)
        for example in docqa[fold::FOLDS]
    ]
    weights = _shrunk(_logit([*docqa, *paragraphs]))
    rows: list[list[object]] = [
        ["docqa, weights as they stand", *_means([_judged(each, np.array(list(WEIGHTS.values()))) for each in docqa])],
        ["docqa, fitted, held back", *_means(held_back)],
        ["docqa, fitted", *_means([_judged(each, weights) for each in docqa])],
        ["XQuAD, fitted", *_means([_judged(each, weights) for each in paragraphs])],
    ]
    printed = {name: round(float(weight), 1) for name, weight in zip(WEIGHTS, weights, strict=True)}
    return f"WEIGHTS = {printed}\n\n{table(['', 'best unit', 'answer', 'its first 240'], rows)}"


def _logit(examples: Sequence[Example]) -> Vector:
    """Return weights with which a right unit is likely to be the best of its question's (conditional logit)."""
    scale = np.vstack([each.features for each in examples]).std(axis=0) + 1e-6
    prior = np.array(list(WEIGHTS.values())) * scale
    used = [each for each in examples if each.right.any() and not each.right.all()]

    def loss(weights: Vector) -> tuple[float, Vector]:
        value, slope = PRIOR_STRENGTH / 2 * ((weights - prior) ** 2).sum(), PRIOR_STRENGTH * (weights - prior)
        for each in used:
            scaled = each.features / scale
            odds = np.exp(scaled @ weights - (scaled @ weights).max())
            chances, right = odds / odds.sum(), odds * each.right
            value -= each.weight * np.log(right.sum() / odds.sum() + 1e-12)
            slope = slope - each.weight * scaled.T @ (right / right.sum() - chances)
        return float(value), slope

    return np.asarray(minimize(loss, prior, jac=True, method="L-BFGS-B").x) / scale


def _shrunk(fitted: Vector) -> Vector:
    return (1 - SHRUNK) * fitted + SHRUNK * np.array(list(WEIGHTS.values()))


def _judged(example: Example, weights: Vector) -> tuple[bool, bool, bool]:
    scores = example.features @ weights
    ranked = sorted(
        (replace(each, score=float(score)) for each, score in zip(example.chosen, scores, strict=True)),
        key=lambda each: -each.score,
    )
    answer = "\n".join(quoted(unit) for unit in composed(ranked))
    best = quoted(ranked[0].unit) if ranked else ""
    return example.asked.is_right(best), example.asked.is_right(answer), example.asked.is_right(answer[:240])


def _means(judged: Sequence[tuple[bool, bool, bool]]) -> list[float]:
    return [float(mean) for mean in np.mean(judged, axis=0)]


def _sureness(sets: Mapping[str, Sequence[Example]]) -> str:
    looks: dict[str, Callable[[Example], list[float]]] = {
        "BY_WORDS": lambda each: [each.covered],
        "BY_BOTH": lambda each: [each.covered, each.cosine],
        "BY_VECTOR": lambda each: [each.cosine],
    }
    known = {name: [each for each in examples if not each.is_foreign] for name, examples in sets.items()}
    answerable = [known["docqa"], known["xquad"]]
    others = [examples for name, examples in known.items() if name not in {"docqa", "xquad"}]
    parts = []
    for name, look in looks.items():
        weights = _logistic(answerable, others, look)
        if name == "BY_BOTH":
            weights[2] *= COSINE_SHARE
        scored = [[_odds(each, weights, look) for each in examples] for examples in answerable]
        bars = np.min([np.quantile(scores, RATES) for scores in scored], axis=0)  # no set is refused more often
        bar = float(np.interp(0.05, RATES, bars))
        rows = [
            [kind, len(each), float(np.mean([_odds(one, weights, look) < bar for one in each]))]
            for kind, each in known.items()
        ]
        parts.append(
            f"{name}: {weights.round(2).tolist()}, bars {bars.round(2).tolist()}\n\n{table(['', 'n', 'refused'], rows)}"
        )
    return "\n\n".join(parts)


def _logistic(
    answerable: Sequence[Sequence[Example]], others: Sequence[Sequence[Example]], look: Callable[[Example], list[float]]
) -> Vector:
    """Return bias and weights; each side weighs the same, and so does each set of a side."""
    rows, signs, shares = [], [], []
    for sign, side in ((1.0, answerable), (-1.0, others)):
        for examples in side:
            rows += [[1.0, *look(each)] for each in examples]
            signs += [sign] * len(examples)
            shares += [1 / len(examples) / len(side)] * len(examples)
    matrix, sign, share = np.array(rows), np.array(signs), np.array(shares)

    def loss(weights: Vector) -> float:
        return float((share * np.logaddexp(0, -sign * (matrix @ weights))).sum() + 1e-3 * (weights[1:] ** 2).sum())

    return np.asarray(minimize(loss, np.zeros(matrix.shape[1]), method="BFGS").x)


def _odds(example: Example, weights: Vector, look: Callable[[Example], list[float]]) -> float:
    return float(np.dot(weights, [1.0, *look(example)]))
