"""Questions that one may ask of a collection, made of its headings: no model is called, the same ones each time.

Headings are somebody else's words. What is left of one is a line of plain text; one that looks like markup, an address
or an instruction of many words makes no suggestion.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

from ingestion.chunking.context import SEPARATOR
from server.engines.quoting.questions import names_nothing

if TYPE_CHECKING:
    from storage.documents.headings import CollectionHeadings, DocumentHeadings, Headings

LONGEST = 70  # characters of a heading
LONGEST_QUESTION = 140
MOST_WORDS = 10
ABOUT: Mapping[str, str] = {
    "english": "What do the documents say about “{}”?",
    "french": "Que disent les documents au sujet de « {} » ?",
    "german": "Was steht in den Dokumenten über „{}“?",
    "spanish": "¿Qué dicen los documentos sobre «{}»?",
}
"""A question about a heading, by the collection's language; in others the heading itself is asked."""

_HOW_TO = re.compile(r"how to (?=\w)(.+)", re.IGNORECASE)
_NUMBER = re.compile(
    r"(?:(?:chapter|section|part|kapitel|abschnitt|teil|chapitre|capítulo)\s+)?"
    r"(?:\d+(?:\.\d+)+[.:)]?|(?:\d{1,2}|[ivx]+)[.:)])\s+",
    re.IGNORECASE,
)
_MARKS = re.compile(r"[*_`#~]+|\{#[^}]*\}")
_MARKUP = re.compile(r"[<>{}\[\]|\\=]|://|\]\(|www\.", re.IGNORECASE)
_LETTER = re.compile(r"[^\W\d_]")
_TELLS_NOTHING = frozenset(
    """
    contents|table of contents|introduction|overview|summary|conclusion|conclusions|references|index|appendix|notes|note
    abstract|preface|foreword|bibliography|glossary|about|about this page|about this document|see also|further reading
    examples|example|general|miscellaneous|faq|changelog|unreleased|added|changed|fixed|removed|home|start|title|untitled
    inhalt|inhaltsverzeichnis|einleitung|einführung|überblick|übersicht|zusammenfassung|fazit|literatur|anhang|vorwort
    beispiele|beispiel|allgemeines|sonstiges|siehe auch|hinweise|hinweis
    sommaire|table des matières|résumé|annexe|annexes|références|exemple|exemples|avant-propos
    contenido|índice|introducción|resumen|conclusión|conclusiones|referencias|apéndice|ejemplo|ejemplos|prólogo
    """.replace("\n", "|").split("|")
)
_LEANS = frozenset(
    word
    for words in (
        "as how if see two three four five six seven eight nine ten what when where whether which who whose why",
        "it its my our ours that their them these they this those us we you your yours",
        "als siehe wann warum was welche welcher welches wenn wer wie wo zwei drei vier fünf",
        "dein deine dies diese dieser dieses es ihr ihre ihren mein meine sie unser unsere wir",
        "comme comment deux où pourquoi quand que quel quelle qui quoi si trois voir",
        "ce ces cette elle elles eux il ils leur leurs mon nos notre nous ses son votre vos vous",
        "como cómo cuál cuándo dónde dos por qué quién tres ver",
        "ellos esta estas este esto estos mi nuestra nuestro su sus usted vuestra vuestro",
    )
    for word in words.split()
)
"""First words of headings that lean on the page around them: “How it works”, “Two commands”, “Your own documents”."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A question to ask; `heading` is what it was made of, of the document that it names."""

    question: str
    heading: str
    document_id: str
    title: str


class Suggestions:
    """Makes suggestions from headings of documents that the caller may read."""

    def __init__(self, headings: Headings) -> None:
        self._headings = headings

    async def of(self, collection: str, /, *, limit: int) -> tuple[Suggestion, ...]:
        """Return at most `limit` questions, of as many documents as there are.

        Raises:
            CollectionNotFound: there is no such collection.

        """
        return suggested(await self._headings.of(collection), limit=limit)


def suggested(found: CollectionHeadings, *, limit: int) -> tuple[Suggestion, ...]:
    """Return questions about headings: the documents' first, then their second ones and so on; none twice.

    Headings that ask something come before others.
    """
    by_document = [list(_of_document(each, found.language)) for each in found.documents]
    by_document.sort(key=lambda own: -sum(_rank(each.heading) == 0 for each in own))  # a list of questions answers best
    in_turn = [each for each in chain.from_iterable(zip_longest(*by_document)) if each is not None]
    made: dict[str, Suggestion] = {}
    for each in sorted(in_turn, key=lambda one: _rank(one.heading) > 0):
        if len(made) == limit:
            break
        made.setdefault(each.question.casefold(), each)
    return tuple(made.values())


def question_about(heading: str, language: str) -> str | None:
    """Return a question about a heading; None if it is none that one would ask about."""
    words = _plain(heading)
    if not _tells(words):
        return None
    if words.endswith(("?", "？")):  # noqa: RUF001 (of Chinese and Japanese)
        return words
    if language == "english" and (how := _HOW_TO.fullmatch(words)):
        return f"How do I {how[1]}?"
    template = ABOUT.get(language)
    made = template.format(words) if template else words
    return made if len(made) <= LONGEST_QUESTION else None


def _of_document(document: DocumentHeadings, language: str) -> Iterator[Suggestion]:
    """Yield questions about a document's headings, the most exact part of each; without any, about its title."""
    title = _plain(document.title)
    leaves = [path.rsplit(SEPARATOR, 1)[-1] for path in document.headings]
    asked = [(leaf, question) for leaf in dict.fromkeys(leaves) if (question := question_about(leaf, language))]
    own = [each for each in asked if _plain(each[0]).casefold() != title.casefold()] or asked
    if not own and (question := question_about(document.title, language)):
        own = [(document.title, question)]
    for heading, question in sorted(own, key=lambda each: _rank(_plain(each[0]))):
        yield Suggestion(question, _plain(heading), document.document_id, title)


def _plain(text: str) -> str:
    """Return a text as one line, without marks of Markdown, numbers before it, and signs that are not seen."""
    seen = "".join(" " if unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp", "Cs", "Co"} else char for char in text)
    line = " ".join(_MARKS.sub("", seen).split())
    return _NUMBER.sub("", line, count=1).strip(" .:–—-") if _NUMBER.match(line) else line.strip(" :–—")  # noqa: RUF001


def _tells(words: str) -> bool:
    is_short = 3 <= len(words) <= LONGEST and len(words.split()) <= MOST_WORDS  # noqa: PLR2004
    if not is_short or _MARKUP.search(words) or len(_LETTER.findall(words)) < 2 or names_nothing(words):  # noqa: PLR2004
        return False
    return words.casefold().strip(" .:?!") not in _TELLS_NOTHING and not _is_file_name(words) and not _leans(words)


def _leans(words: str) -> bool:
    """Tell whether a heading says little without the page around it: a question, or how to do something, never does."""
    if words.endswith("?") or _HOW_TO.fullmatch(words):
        return False
    return words.casefold().split()[0] in _LEANS


def _rank(words: str) -> int:
    """Return what comes first of a document: questions, then headings of several words, then single words."""
    if words.endswith("?") or _HOW_TO.fullmatch(words):
        return 0
    return 1 if " " in words else 2


def _is_file_name(words: str) -> bool:
    return " " not in words and re.search(r"\.[A-Za-z0-9]{1,5}$", words) is not None
