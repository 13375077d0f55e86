"""An answer in a terminal: as it comes, then its footnotes, numbered as in the text."""

from __future__ import annotations

import re
import sys
import unicodedata
from typing import Any

from rich.console import Console
from rich.text import Text

QUOTED = 240
"""Characters of a passage that are shown."""
KEPT = frozenset("\n\t")


def plain(text: str) -> str:
    """Return a text without what commands a terminal: documents and models may write escape sequences.

    Also without marks that change the direction of what follows (Unicode's Cf), which could show another name.
    """
    return "".join(char for char in text if char in KEPT or unicodedata.category(char) not in {"Cc", "Cf", "Co", "Cs"})


class Printed:
    """Prints to standard output; colours only where that is a terminal.

    Attributes:
        has_begun: whether anything of the answer is there.

    """

    def __init__(self) -> None:
        self._console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self._citations: list[dict[str, Any]] = []
        self._is_at_start = True
        self._answer = ""
        self.has_begun = False

    def sources(self, citations: list[dict[str, Any]]) -> None:
        """Keep the passages for the end."""
        self._citations = citations

    def token(self, text: str) -> None:
        """Print a piece of the answer."""
        if shown := plain(text):
            self.has_begun, self._is_at_start = True, shown.endswith("\n")
            self._answer += shown
            self._console.print(Text(shown), end="")
            self._console.file.flush()

    def retract(self) -> None:
        """Say that what was printed so far was the model's reasoning, not its answer."""
        self.end_line()
        self._answer = ""
        self._note("(that was the model's reasoning; its answer follows)")

    def end_line(self) -> None:
        """Be at the start of a line."""
        if not self._is_at_start:
            self._console.print()
            self._is_at_start = True

    def done(self, data: dict[str, Any]) -> None:
        """Print the footnotes that the answer cites, or say that it cites none, and what the engine says."""
        self.end_line()
        cited = set(data.get("cited") or [])
        known = data.get("citations") or self._citations
        shown = [each for each in known if each.get("cited") or each.get("id") in cited]
        if shown:
            self._console.print()
        for each in shown:
            self._footnote(each)
        if known and not shown and data.get("finish_reason") != "no_context":
            self._note("no passage is cited")
        for note in (data.get("engine") or {}).get("notes") or []:
            self._note(str(note))

    def _footnote(self, citation: dict[str, Any]) -> None:
        number = f"[{citation.get('id')}] "
        self._console.print(Text(number, style="bold") + Text(_place(citation)))
        text = " ".join(plain(str(citation.get("text") or "")).replace("`", "").split())  # quotations have no markup
        self._console.print(Text(f"{' ' * len(number)}{around(text, self._quoted(citation))}", style="dim"))

    def _quoted(self, citation: dict[str, Any]) -> str:
        """Return what the answer quotes of a passage first: ``“…” [2]``; empty where it quotes nothing."""
        found = re.search(rf"“([^”]+)” \[{citation.get('id')}\]", self._answer)
        return " ".join(found[1].split()) if found else ""

    def _note(self, text: str) -> None:
        self._console.print(Text(plain(text), style="italic dim"))


def around(text: str, quoted: str) -> str:
    """Return `QUOTED` characters of a passage: from its beginning, or from what is quoted, where that lies behind."""
    start = text.find(quoted[:60]) if quoted else 0
    if start + min(len(quoted), QUOTED) <= QUOTED:
        start = 0
    rest = text[start:]
    short = rest if len(rest) <= QUOTED else f"{rest[:QUOTED].rsplit(' ', 1)[0]} …"
    return f"… {short}" if start else short


def _place(citation: dict[str, Any]) -> str:
    """Return where a passage is: source, page, heading."""
    first, last = citation.get("page"), citation.get("page_end")
    pages = "" if first is None else f"page {first}" if last in {None, first} else f"pages {first} to {last}"
    parts = [str(citation.get("source") or citation.get("title") or ""), pages, str(citation.get("heading") or "")]
    return ", ".join(" ".join(plain(part).split()) for part in parts if part)
