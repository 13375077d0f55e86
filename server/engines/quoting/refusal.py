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
    r"\W*(hi|hello|hey|good (morning|evening|day)|thanks?( you)?( (a lot|very much))?|ok(ay)?|bye|goodbye|yes|no"
    r"|great|cool|hallo|guten (tag|morgen|abend)|danke( schön| sehr)?|tschüss|ja|nein|bonjour"
    r"|salut|merci( beaucoup)?|au revoir"
    r"|oui|non|hola|buenos días|gracias|adiós|sí)\W*",
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
    by_vector = asked.is_foreign or language != "english"  # its words stand nowhere, or in other forms
    if rate <= 0 or (not asked.terms and not by_vector):
        return False
    if by_vector:
        sureness, rate = BY_VECTOR.get(model), rate * FOREIGN_SHARE
    else:
        sureness = BY_BOTH.get(model, BY_WORDS)
    if cosine is None:
        sureness = None if by_vector else BY_WORDS
    if sureness is None:
        return False
    return sureness.score(coverage=covered, cosine=cosine or 0.0) < sureness.bar(rate)


def without_courtesies(text: str) -> str:
    """Return a question without a greeting before it, and without sentences that only thank, or ask for help.

    They have words that no document has, and say nothing of what is asked. A text of nothing else stays as it is.
    """
    rest = _GREETING.sub("", text, count=1) if _GREETING.match(text) else text
    kept = "".join(each for each in _SENTENCE.findall(rest) if not _COURTESY.fullmatch(each)).strip()
    return kept if re.search(r"\w", kept) else text


def is_small_talk(text: str) -> bool:
    """Tell whether a message greets or thanks; nothing in documents answers it."""
    return _SMALL_TALK.fullmatch(text) is not None
