"""The files that are damaged: a folder of small ones, and made ones of each kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from support import files

from benchmarks.readers.benchmark import MADE
from ingestion.readers.kinds import refusal

MAX_SIZE = 200_000
_TEXTS: dict[str, str] = {
    "notes.md": "---\ntitle: Quarry\ntags: [stone, lime]\n---\n# Quarry\n\nThe quarry opened early.\n\n"
    "| Stone | Price |\n|---|---|\n| granite | 1410 |\n| basalt | 1820 |\n\n```python\nblast(charge=3)\n```\n\n"
    "- first terrace\n- second terrace\n\n> quoted foreman\n\nLast paragraph about lorries.\n",
    "notes.rst": "Quarry\n======\n\nThe quarry opened early.\n\n.. note:: Mind the gravel.\n\nLast paragraph.\n",
    "plain.txt": "The quarry opened early.\n\nSecond paragraph about lorries.\n\nThird paragraph, of gravel.\n",
    "stones.tsv": "Stone\tPrice\ngranite\t1410\nbasalt\t1820\nmarble\t2130\n",
    "stones.jsonl": '{"text": "granite slabs", "price": 1410}\n{"text": "basalt columns", "price": 1820}\n'
    '{"text": "marble floors", "metadata": {"year": 2024}}\n',
    "stones.json": '[{"name": "granite", "tons": [1410, 1820]}, {"name": "basalt", "of": {"town": "Osterby"}}]',
    "quarry.py": 'class Quarry:\n    """Stones."""\n\n    def blast(self, charge: int) -> None:\n        return None\n',
    "talk.srt": "1\n00:00:01,000 --> 00:00:04,000\nWelcome to the quarry.\n\n2\n00:00:05,000 --> 00:00:09,500\n"
    "Granite is <i>harder</i> than lime.\n",
    "talk.vtt": "WEBVTT\n\nNOTE made by hand\n\n00:01.000 --> 00:04.000 align:start\n<v Ulla>Welcome to the quarry.\n\n"
    "00:05.000 --> 00:09.500\nGranite is harder than lime.\n",
    "notes.rtf": r"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}}{\b Quarry}\par It opened \'e4rly, \u8364?12.\par "
    r"\trowd\cellx100\cellx200 granite\cell 1410\cell\row}",
    "notes.ipynb": '{"cells": [{"cell_type": "markdown", "metadata": {}, "source": ["# Quarry\\n", "It opened."]}, '
    '{"cell_type": "code", "execution_count": 1, "metadata": {}, "source": "blast(3)", "outputs": [{"output_type": '
    '"stream", "name": "stdout", "text": ["granite"]}]}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
    "paper.tex": "\\documentclass{article}\n\\begin{document}\n\\section{Quarry}\nThe quarry opened \\emph{early}.\n"
    "\\begin{tabular}{ll}\nStone & Price \\\\\ngranite & 1410\n\\end{tabular}\n\\end{document}\n",
    "stones.xml": '<?xml version="1.0"?>\n<stones>\n<stone id="s1"><name>granite</name><price>1410</price></stone>\n'
    '<stone id="s2"><name>basalt</name><price>1820</price></stone>\n</stones>\n',
}


def made() -> dict[str, bytes]:
    """Return made files by name."""
    mails = {
        "letter.eml": files.mail(subject="Quarry", plain="The quarry opened early.", html="<p>The quarry opened.</p>"),
        "page.eml": files.mail(
            subject="Quarry", html="<h1>Stones</h1><p>Granite costs <b>more</b>.</p>", attachment="a.b"
        ),
    }
    return {
        **{name: make()[0] for name, make in MADE.items()},
        **{name: text.encode() for name, text in _TEXTS.items()},
        **mails,
    }


def corpus(folders: Sequence[Path]) -> dict[str, bytes]:
    """Return the files to damage by name: made ones, and those of the folders that a reader is for."""
    given = {
        f"{path.parent.name}/{path.name}": path.read_bytes()
        for folder in folders
        for path in sorted(folder.rglob("*.*"))
        if path.is_file() and refusal(path) is None and 0 < path.stat().st_size <= MAX_SIZE
    }
    return {**made(), **given}
