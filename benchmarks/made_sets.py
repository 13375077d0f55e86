"""Two more retrieval sets, out of Debian packages: ``python -m benchmarks.made_sets perl|man SOURCE FOLDER``.

- ``perl`` (package perl-doc, SOURCE its folder ``usr/share/perl``): the questions of the Perl FAQ, as people have asked
  them. The answers, without the questions above them, lie among the sections of the rest of the documentation.
- ``man`` (package manpages-dev, SOURCE its folder ``usr/share/man``): a manual page's one-line description, which
  is taken out of the page.

FOLDER gets BEIR's layout, for ``python -m benchmarks retrieval --beir FOLDER``.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

LEAST = 100  # characters of a document
_HEAD = re.compile(r"^=head(\d)\s+(.+)$", re.MULTILINE)
_LEFT_OUT = re.compile(r"perl(5\d*delta|delta|toc|faq|artistic|gpl|hist)\.pod")  # tables of contents, licences, news
_CODE = re.compile(r"[A-Z](?:<<+\s+(.*?)\s+>>+|<([^<>]*)>)", re.DOTALL)
_ROFF_MACRO = re.compile(r"^\.\s*(\w+)[ \t]*(.*)$", re.MULTILINE)
_ROFF_SHOWN = {"SH", "SS", "B", "I", "BR", "BI", "IR", "IB", "RB", "RI", "TP", "IP", "TH", "SM", "SB"}
_ROFF_ESCAPE = re.compile(r"\\f(?:\[\w*\]|\(..|.)|\\s[-+]?\d|\\[&|^%:/,]|\\\*\(..")


@dataclass(frozen=True, slots=True)
class Section:
    """A document, and what is asked of it; None: it is only there to be confused with others."""

    text: str
    question: str | None = None


def perl_sections(source: Path) -> Iterator[Section]:
    """Yield the sections of Perl's documentation."""
    for file in sorted(source.rglob("pod/*.pod")):
        if _LEFT_OUT.fullmatch(file.name):
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        heads = list(_HEAD.finditer(text))
        for head, following in zip(heads, [*heads[1:], None], strict=True):
            title = _plain_pod(head.group(2))
            body = _plain_pod(text[head.end() : following.start() if following else len(text)])
            is_asked = file.name.startswith("perlfaq") and head.group(1) == "2" and title.endswith("?")
            yield Section(body, title) if is_asked else Section(f"{title}\n\n{body}")


def man_pages(source: Path) -> Iterator[Section]:
    """Yield manual pages without their descriptions."""
    for file in sorted(source.rglob("man[23]/*.gz")):
        roff = gzip.decompress(file.read_bytes()).decode("utf-8", "replace")
        name, _, rest = roff.partition(".SH NAME")[2].partition("\n.SH ")
        described = " ".join(_plain_roff(name).split()).partition(" - ")[2]
        if described and rest:
            yield Section(f"{file.name.split('.')[0]}\n\n{_plain_roff('.SH ' + rest)}", described)


def write(sections: Iterable[Section], folder: Path) -> tuple[int, int]:
    """Write a folder in BEIR's layout; return how many documents and questions there are.

    What is asked of several documents has all of them for an answer.
    """
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    questions: dict[str, list[str]] = {}
    with (folder / "corpus.jsonl").open("w") as corpus:
        kept = (section for section in sections if len(section.text) >= LEAST)
        count = 0
        for count, section in enumerate(kept, start=1):
            corpus.write(json.dumps({"_id": f"d{count}", "title": "", "text": section.text}) + "\n")
            if section.question:
                questions.setdefault(section.question, []).append(f"d{count}")
    with (folder / "queries.jsonl").open("w") as queries, (folder / "qrels" / "test.tsv").open("w") as qrels:
        qrels.write("query-id\tcorpus-id\tscore\n")
        for number, (question, documents) in enumerate(questions.items(), start=1):
            queries.write(json.dumps({"_id": f"q{number}", "text": question}) + "\n")
            qrels.writelines(f"q{number}\t{document}\t1\n" for document in documents)
    return count, len(questions)


def _plain_pod(text: str) -> str:
    for _ in range(3):  # codes may stand in codes
        text = _CODE.sub(lambda match: match.group(1) or match.group(2) or "", text)
    text = re.sub(r"^=(item|over|back|cut|for|begin|end|encoding|pod)\b[ \t]*(\d+$|\*$)?", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _plain_roff(text: str) -> str:
    text = re.sub(r'^[.\']\\".*$', "", text, flags=re.MULTILINE)
    text = _ROFF_MACRO.sub(lambda match: match.group(2).replace('"', "") if match.group(1) in _ROFF_SHOWN else "", text)
    text = _ROFF_ESCAPE.sub("", text).replace("\\-", "-").replace("\\e", "\\").replace("\\(aq", "'")
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def main(kind: str, source: str, folder: str) -> None:
    """Make a set, and say how large it is."""
    sections = {"perl": perl_sections, "man": man_pages}[kind](Path(source))
    documents, questions = write(sections, Path(folder))
    print(f"{folder}: {documents} documents, {questions} questions")


if __name__ == "__main__":
    main(*sys.argv[1:4])
