"""Converting public data sets, in SQuAD's and BEIR's layouts, to golden questions."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from evaluation.errors import EvaluationRefused
from relevance.golden import GoldenQuestion

MAX_NAME_LENGTH = 150


def convert_squad(path: Path, *, documents: Path | None) -> list[GoldenQuestion]:
    """Read a file in the layout of SQuAD 1.1 or 2.0 (https://rajpurkar.github.io/SQuAD-explorer/).

    A right passage contains one of the answers and is from the question's paragraph. Paragraphs are written as text
    files into `documents`; if that is None, only the answers decide what is right.

    Raises:
        EvaluationRefused: the file does not have that layout, or the folder cannot be written.

    """
    asked: dict[str, GoldenQuestion] = {}
    for name, context, question in _squad(path):
        if documents is not None:
            _write(documents, name, context)
        golden = _squad_question(question, document=name if documents is not None else None)
        _merge(asked, golden)
    return _some(asked, path)


def convert_beir(path: Path, *, documents: Path | None, split: str = "test") -> list[GoldenQuestion]:
    """Read a folder in BEIR's layout: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/test.tsv`` (Thakur et al., 2021).

    Documents are written as text files into `documents`; if that is None, they are referred to by their ids.

    Raises:
        EvaluationRefused: a file is missing or malformed, or the folder cannot be written.

    """
    if documents is not None:
        for entry in _json_lines(path / "corpus.jsonl", "_id", "text"):
            title = str(entry.get("title") or "")
            _write(documents, file_name(str(entry["_id"])), f"{title}\n\n{entry['text']}".strip())
    texts = {str(entry["_id"]): str(entry["text"]) for entry in _json_lines(path / "queries.jsonl", "_id", "text")}
    asked: dict[str, GoldenQuestion] = {}
    for query, grades in _judgments(path / "qrels" / f"{split}.tsv").items():
        if query in texts and grades and texts[query].strip():
            names = {file_name(name) if documents is not None else name: grade for name, grade in grades.items()}
            higher = {name: grade for name, grade in names.items() if grade > 1}
            _merge(asked, GoldenQuestion(texts[query], documents=frozenset(names), id=query, grades=higher))
    return _some(asked, path)


def file_name(document: str) -> str:
    """Return a safe file name for a document, which cannot lead out of the folder."""
    name = quote(document, safe=" ,;=+@()[]{}!").replace("~", "%7E")
    if len(name) > MAX_NAME_LENGTH:
        name = f"{name[:MAX_NAME_LENGTH]}-{hashlib.sha256(document.encode('utf-8', 'replace')).hexdigest()[:16]}"
    return f"{name.lstrip('.') or 'document'}.txt"


def _squad(path: Path) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield (name of the paragraph's file, paragraph, question)."""
    try:
        articles = json.loads(path.read_text("utf-8-sig"))["data"]
        for number, article in enumerate(articles, start=1):
            title = str(article.get("title") or f"article {number}")
            for place, paragraph in enumerate(article["paragraphs"], start=1):
                name = file_name(f"{title} {number}-{place}")
                for question in paragraph["qas"]:
                    yield name, str(paragraph["context"]), question
    except OSError as exc:
        raise _unreadable(path, exc) from exc
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        msg = f'{path}: it has not SQuAD\'s layout: {{"data": [{{"paragraphs": [{{"context", "qas": […]}}]}}]}}'
        raise EvaluationRefused(msg) from exc


def _squad_question(question: Mapping[str, Any], *, document: str | None) -> GoldenQuestion:
    answers = dict.fromkeys(text for each in question.get("answers") or () if (text := str(each["text"]).strip()))
    is_impossible = bool(question.get("is_impossible")) or not answers
    return GoldenQuestion(
        str(question["question"]),
        documents=frozenset([document] if document and not is_impossible else []),
        answers=() if is_impossible else tuple(answers),
        unanswerable=is_impossible,
        id=str(question.get("id") or ""),
    )


def _merge(asked: dict[str, GoldenQuestion], golden: GoldenQuestion) -> None:
    """Add a question; the same question for several documents has several right ones."""
    earlier = asked.get(golden.asked)
    if earlier is None or earlier.unanswerable:
        asked[golden.asked] = golden
    elif not golden.unanswerable:
        asked[golden.asked] = replace(
            earlier,
            documents=earlier.documents | golden.documents,
            answers=tuple(dict.fromkeys((*earlier.answers, *golden.answers))),
            grades={**golden.grades, **earlier.grades},
        )


def _some(asked: Mapping[str, GoldenQuestion], path: Path) -> list[GoldenQuestion]:
    if not asked:
        msg = f"{path}: there are no questions in it"
        raise EvaluationRefused(msg)
    return list(asked.values())


def _judgments(path: Path) -> dict[str, dict[str, int]]:
    """Return the grades of the right documents, by question."""
    judged: dict[str, dict[str, int]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                if (grade := int(row["score"])) > 0:
                    judged.setdefault(row["query-id"], {})[row["corpus-id"]] = grade
    except OSError as exc:
        raise _unreadable(path, exc) from exc
    except (ValueError, TypeError, KeyError, csv.Error) as exc:
        msg = f"{path}: it has not BEIR's layout: columns query-id, corpus-id and score, with tabs between"
        raise EvaluationRefused(msg) from exc
    return judged


def _json_lines(path: Path, *wanted: str) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line in file:
                number += 1
                if line.strip():
                    entry = json.loads(line)
                    _ = [entry[name] for name in wanted]
                    yield entry
    except OSError as exc:
        raise _unreadable(path, exc) from exc
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        msg = f"{path}, line {number}: an object with {', '.join(wanted)} is wanted"
        raise EvaluationRefused(msg) from exc


def _write(folder: Path, name: str, text: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8", errors="replace")
    except OSError as exc:
        msg = f"{folder}: {name} cannot be written ({exc.strerror or type(exc).__name__})"
        raise EvaluationRefused(msg) from exc


def _unreadable(path: Path, exc: OSError) -> EvaluationRefused:
    return EvaluationRefused(f"{path}: it cannot be read ({exc.strerror or type(exc).__name__})")
