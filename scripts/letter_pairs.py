"""Write ingestion/readers/encodings/letter_pairs.txt: how often letters follow each other, language by language.

    python scripts/letter_pairs.py DJANGO > ingestion/readers/encodings/letter_pairs.txt

DJANGO is an unpacked wheel of Django (BSD), whose translations are counted, beside the names of countries, languages,
currencies and months in Unicode's CLDR (of the package babel). The file has counts only, none of their text.

A line is a language, a tab, and triples: two letters, in lower case, a blank for the border of a word, and a sign for
the cost of the second after the first: -4 ln(probability), counted from ``#``. Of Chinese, Japanese and Korean it has
pairs of a blank and a character: what counts there is how common a character is.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

LANGUAGES = (
    "de fr es it pt nl sv da nb fi is ca en pl cs sk hu sl hr ro et lv lt tr az sq cy ga eu gl "
    "ru uk bg be mk sr el he ar fa th vi ja ko zh_Hans zh_Hant"
).split()
CHARACTERS = {"ja", "ko", "zh_Hans", "zh_Hant"}
MOST_PAIRS = 700
MOST_CHARACTERS = 1500
APPLICATIONS = ("conf", "contrib/admin", "contrib/auth")
_MESSAGE = re.compile(r'^msgstr(?:\[\d\])? ((?:".*"\n)+)', re.MULTILINE)
_MARKUP = re.compile(r"%\(\w+\)[sd]|%[sd]|\{\w*\}|<[^>]*>|&\w+;|\\.")


def main(django: Path) -> None:
    """Print the table."""
    for language in LANGUAGES:
        text = " ".join([*_translations(django, language), *_names(language)])
        characters = language in CHARACTERS
        print(f"{language}\t{_unigrams(text) if characters else _pairs(text)}")


def _translations(django: Path, language: str) -> Iterator[str]:
    for application in APPLICATIONS:
        file = django / "django" / application / "locale" / language / "LC_MESSAGES" / "django.po"
        if file.exists():
            for message in _MESSAGE.finditer(file.read_text(encoding="utf-8")):
                text = "".join(re.findall(r'"(.*)"\n', message[1]))
                if "Project-Id" not in text:
                    yield _MARKUP.sub(" ", text)


def _names(language: str) -> Iterator[str]:
    from babel import Locale

    locale = Locale.parse(language)
    for names in (locale.territories, locale.languages, locale.currencies):
        yield from names.values()
    for widths in (locale.months, locale.days):
        yield from widths["format"]["wide"].values()


def _pairs(text: str) -> str:
    letters = "".join(char if char.isalpha() or char == "’" else " " for char in text.lower())
    words = " ".join(letters.split())
    pairs = Counter(pairwise(words))
    after = Counter(first for first, _ in pairs.elements())
    kept = pairs.most_common(MOST_PAIRS)
    return "".join(sorted(f"{a}{b}{_sign(count / after[a])}" for (a, b), count in kept if ord(max(a, b)) < 0x2100))


def _unigrams(text: str) -> str:
    counts = Counter(char for char in text if ord(char) >= 0x1100)
    whole = counts.total()
    return "".join(sorted(f" {char}{_sign(count / whole)}" for char, count in counts.most_common(MOST_CHARACTERS)))


def _sign(probability: float) -> str:
    return chr(ord("#") + min(80, round(-4 * math.log(probability))))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
