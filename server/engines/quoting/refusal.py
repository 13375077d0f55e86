"""Whether passages answer a question at all: how much of it their best unit covers, and how near the best passage is.

A logistic model of two features, and of one where the other is not at hand. The weights were fitted to questions that
documents answer and to others (of another corpus, near the topic, with their passage taken out); `Sureness.bars` are
quantiles of what the answerable ones scored, so that a rate of wrong refusals can be chosen. docs/refusal.md has the
figures, and the script that made these numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from server.engines.quoting.ranking import coverage

if TYPE_CHECKING:
    from server.engines.quoting.questions import Asked
    from server.engines.quoting.units import Unit
    from server.engines.quoting.words import Words

RATES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
FOREIGN_SHARE = 0.4
"""Of the rate, for questions in another language than the collection's: their cosines are lower throughout."""


@dataclass(frozen=True, slots=True)
class Sureness:
    """A logistic model that passages answer a question.

    Attributes:
        bars: quantiles of its score at `RATES` over answerable questions.

    """

    bias: float
    coverage: float
    cosine: float
    bars: tuple[float, ...]

    def bar(self, rate: float) -> float:
        """Return the score below which to refuse."""
        return float(np.interp(rate, RATES, self.bars))

    def score(self, *, coverage: float, cosine: float) -> float:
        """Return the log-odds that the passages hold the answer."""
        return self.bias + self.coverage * coverage + self.cosine * cosine


BY_WORDS = Sureness(-4.16, 7.37, 0.0, (-1.01, -0.81, -0.47, 0.02, 0.30, 0.55, 0.88))
BY_BOTH: Mapping[str, Sureness] = {
    "all-MiniLM-L6-v2": Sureness(-5.71, 6.22, 1.46, (-2.24, -2.05, -1.73, -1.45, -1.05, -0.95, -0.56)),
}
"""By the name of the embedding model: cosines of others mean something else."""
BY_VECTOR: Mapping[str, Sureness] = {
    "all-MiniLM-L6-v2": Sureness(-4.00, 0.0, 8.52, (-1.64, -1.50, -0.75, -0.42, -0.27, -0.01, 0.36)),
}
_SMALL_TALK = re.compile(
    r"(\W*\b(hi|hello|hey|yo|good (morning|afternoon|evening|day|night)|thanks?( you)?|thank u|thx|ty|cheers"
    r"|(so|very) much|a lot|again|there|all right|alright|ok(ay)?|bye|goodbye|yes|no|yep|nope|great|cool|nice"
    r"|perfect|awesome|good|well done|got it|i see|how are you"
    r"|hallo|servus|moin|guten (tag|morgen|abend)|danke|schön|sehr|super|prima|alles klar|verstanden|tschüss|ja|nein"
    r"|wie geht es dir|wie geht's"
    r"|bonjour|salut|merci|beaucoup|au revoir|oui|non|hola|buenos días|gracias|muchas|adiós|sí)\b){1,5}\W*",
    re.IGNORECASE,
)
_GREETING = re.compile(
    r"""\W*
    (?: hi | hello | hey | good\ (?:morning|afternoon|evening|day) | dear\ \w+
      | hallo | guten\ (?:tag|morgen|abend) | liebe[rs]?\ \w+ | bonjour | salut | hola | buenos\ días )
    (?: \ (?:there|all|everyone|team|zusammen|alle|à\ tous) )?
    (?: \s*[,.!:;]+\s* | \s+[\u2013\u2014-]\s+
      | \s+ (?= (?: how|what|where|when|why|who|which|can|could|is|are|do|does|please|i
                  | wie|was|wo|wer|wann|kann|ist|gibt | comment|quel|quelle|où|qui | cómo|qué|dónde|quién ) \b ) )
    """,
    re.IGNORECASE | re.VERBOSE,
)
_COURTESY = re.compile(
    r"""\W*
    (?: (?: many\ thanks | thanks? | thank\ you | cheers )
        (?: \ (?: you | a\ lot | so\ much | very\ much | in\ advance | for\ (?:your|the|any)\ help ) )*
      | (?:can|could|would|will)\ (?:you|anyone|anybody|someone)(?:\ please)?\ help(?:\ me)?
        (?:\ out)?(?:\ with\ (?:this|that|something))?
      | please\ help(?:\ me)?
      | i(?:\ have|'ve|\ have\ got|'ve\ got)?\ an?\ (?:quick\ |short\ |small\ )?question | quick\ question
      | (?:vielen\ |besten\ |herzlichen\ )?danke?(?:\ (?:schön|sehr|im\ voraus|dir|ihnen))*
      | (?:kannst\ du|können\ sie)\ mir(?:\ bitte)?\ helfen | ich\ habe\ eine(?:\ kurze)?\ frage
      | merci(?:\ beaucoup|\ d'avance)* | (?:muchas\ )?gracias(?:\ de\ antemano)? | por\ favor )
    \W*""",
    re.IGNORECASE | re.VERBOSE,
)
_ABOUT_DOCUMENTS = re.compile(
    r"""\W*
    (?: what\ (?:do|does) .{0,12}? \b (?:documents?|docs|files?|texts?|notes)
          \ (?:say|tell|state)(?:\ me)?\ (?:about|on)
      | was\ (?:steht|sagen|sagt) .{0,12}? \b (?:dokument|datei|text|unterlage)\w*\ (?:über|zu[mr]?)
      | que\ (?:disent|dit) .{0,8}? \b documents?\ (?:au\ sujet\ d[eu']|sur)
      | qué\ dicen? .{0,8}? \b documentos?\ (?:sobre|de) )
    \b \s*""",
    re.IGNORECASE | re.VERBOSE,
)
"""Words around what is asked about, as the page's suggestions have them; documents seldom speak of documents."""
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*\s*|[.!?\n]+")


def best_coverage(asked: Asked, units: Sequence[Unit], *, words: Words) -> float:
    """Return the largest share of the question that a unit covers with all that stands around it, 0 to 1."""
    return max(
        (
            coverage(
                asked,
                words.bag(unit.shown)
                | words.bag(unit.lead)
                | words.bag(unit.heading)
                | words.bag(unit.name)
                | words.bag(unit.paragraph),
            )
            for unit in units
        ),
        default=0.0,
    )


def is_of_words(asked: Asked, *, language: str, model: str) -> bool:
    """Tell whether to refuse a question of which the passages mention nothing, whatever their vectors say.

    That is one in another language than English, where the collection has that language, too: vectors of a model that
    learned English find all its texts near. Of a model of many languages, the answer may be in another one.
    """
    return bool(asked.terms) and asked.is_spoken and _is_by_vector(asked, language) and model in BY_VECTOR


def _is_by_vector(asked: Asked, language: str) -> bool:
    """Tell whether a question's words may stand nowhere in passages that answer it, or in other forms."""
    return asked.is_foreign or language != "english"


def refuses(
    asked: Asked, *, covered: float, cosine: float | None, model: str, rate: float, language: str = "english"
) -> bool:
    """Tell whether to refuse, at a rate of wrong refusals; 0 never refuses.

    Args:
        asked: the question.
        language: of the collection; what words tell was measured in English alone.
        covered: see `best_coverage`.
        cosine: the question's largest to a passage; None if the passages were not found by vectors.
        model: name of the embedding model.
        rate: share of answerable questions that may be refused, 0 to 0.3.

    """
    by_vector = _is_by_vector(asked, language)
    if rate <= 0 or (not asked.terms and not by_vector):
        return False
    if by_vector:
        sureness, rate = BY_VECTOR.get(model), rate * FOREIGN_SHARE
    else:
        sureness = BY_BOTH.get(model, BY_WORDS)
    if by_vector and BY_WORDS.score(coverage=covered, cosine=0.0) >= BY_WORDS.bar(rate):
        return False  # it has the passages' words all the same
    if cosine is None:
        sureness = None if by_vector else BY_WORDS
    if sureness is None:
        return False
    return sureness.score(coverage=covered, cosine=cosine or 0.0) < sureness.bar(rate)


def without_courtesies(text: str) -> str:
    """Return a question without a greeting before it, and without sentences that only thank, or ask for help.

    They have words that no document has, and say nothing of what is asked; no more does “what do the documents say
    about”. A text of nothing else stays as it is.
    """
    rest = _GREETING.sub("", text, count=1) if _GREETING.match(text) else text
    kept = "".join(each for each in _SENTENCE.findall(rest) if not _COURTESY.fullmatch(each)).strip()
    kept = _ABOUT_DOCUMENTS.sub("", kept, count=1) if _ABOUT_DOCUMENTS.match(kept) else kept
    return kept if re.search(r"\w", kept) else text


def is_small_talk(text: str) -> bool:
    """Tell whether a message greets or thanks; nothing in documents answers it."""
    return _SMALL_TALK.fullmatch(text) is not None
