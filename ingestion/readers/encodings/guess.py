"""Guessing the encoding of text that names none, by how likely its letters follow each other.

Each candidate encoding is tried on the words that have bytes beyond ASCII. Its cost is the negative logarithm of how
likely the decoded words are in the best of the languages written with it (letter_pairs.txt), plus one for how rarely
the encoding is met, in the order of what the web weighs. The cheapest wins.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path

MAX_WORDS = 300
MAX_WORD = 200  # bytes: text in Thai or Chinese has no blanks
_SAMPLE = 1 << 18
_WORD = re.compile(rb"[^\s\x21-\x2f\x3a-\x3f]*[\x80-\xff][^\s]*")
_ASCII_WORD = re.compile(rb"(?<![^\s;,.])[A-Za-z]{2,30}(?![^\s;,.])")

# languages by the code page that is theirs, the most met encodings first: (Python codec, cost of its rarity)
_WESTERN = "de fr es it pt nl sv da nb fi is ca en ga eu gl cy sq"
_CENTRAL = "pl cs sk hu sl hr ro sq"
_CYRILLIC = "ru uk bg be mk sr"
_FAMILIES: tuple[tuple[str, tuple[tuple[str, float], ...]], ...] = (
    (_WESTERN, (("cp1252", 0), ("iso8859-15", 2), ("cp850", 6), ("mac-roman", 7), ("cp437", 7))),
    (_CENTRAL, (("cp1250", 2), ("iso8859-2", 3), ("cp852", 7), ("mac-latin2", 9))),
    (_CYRILLIC, (("cp1251", 2), ("koi8-u", 4), ("cp866", 5), ("iso8859-5", 6), ("mac-cyrillic", 8))),
    ("el", (("cp1253", 2), ("iso8859-7", 3), ("cp737", 7))),
    ("tr az", (("cp1254", 2.5), ("cp857", 8))),
    ("et lv lt", (("cp1257", 3), ("iso8859-13", 6), ("iso8859-4", 7))),
    ("he", (("cp1255", 3), ("cp862", 8))),
    ("ar fa", (("cp1256", 3), ("iso8859-6", 5))),
    ("th", (("cp874", 3),)),
    ("vi", (("cp1258", 5),)),
    ("ja", (("cp932", 2), ("euc-jp", 3))),
    ("zh_Hans", (("gb18030", 2),)),
    ("zh_Hant", (("big5hkscs", 3),)),
    ("ko", (("cp949", 3),)),
)
_CONFIGURATIONS: Mapping[str, str] = {
    "arabic": "ar", "basque": "eu", "catalan": "ca", "danish": "da", "dutch": "nl", "finnish": "fi", "french": "fr",
    "german": "de", "greek": "el", "hungarian": "hu", "irish": "ga", "italian": "it", "lithuanian": "lt",
    "norwegian": "nb", "portuguese": "pt", "romanian": "ro", "russian": "ru", "serbian": "sr", "spanish": "es",
    "swedish": "sv", "turkish": "tr",
}  # fmt: skip
_COLLECTION = 3.0  # what the collection's language is worth

# costs, as -ln(probability)
_INVALID = 16.0
_COMMON = dict.fromkeys("€«»„“”‘’–—…\xa0", 5.0) | dict.fromkeys("§°·•©®™£½²³×º¿¡¼¾±′″№", 7.0)
_SYMBOL = 10.0
_FOREIGN = 11.0
_UNPAIRED = 2.5
_INSIDE = 4.0  # a symbol between two letters; half of it on one side of one
_QUOTES = "«»„“”‘…—™®°º"  # on one side of a letter by right
_JOINTS = "’·–\xa0\u200c\u200d"  # which stand there by right
_CASE = 3.0  # an upper-case letter after a lower-case one
_MIXED = 6.0  # letters of two scripts side by side
_HAN = ((0x2E80, 0x9FFF), (0xAC00, 0xD7AF), (0xF900, 0xFAFF), (0xFF00, 0xFFEF))
_FREQUENT = 9.0
_RARE = 13.0


@dataclass(frozen=True, slots=True)
class _Model:
    """A language: costs of pairs, of letters alone, and whether it is one of characters rather than letters."""

    pairs: Mapping[str, float]
    alone: Mapping[str, float]
    characters: bool


def guess(data: bytes, *, language: str) -> str:
    """Return the likeliest codec of text that has bytes beyond ASCII and is not UTF-8.

    Args:
        data: the text; of a long one, the beginning counts.
        language: text search configuration of the collection.

    """
    sample = data[:_SAMPLE]
    words = Counter(word[:MAX_WORD] for word in _WORD.findall(sample))
    common = dict(words.most_common(MAX_WORDS))
    around = _around(sample)
    candidates = _candidates(common, around, _CONFIGURATIONS.get(language, ""))
    return min(candidates, key=lambda candidate: candidate[1])[0]


def _candidates(words: Mapping[bytes, int], around: Mapping[str, float], expected: str) -> Iterator[tuple[str, float]]:
    for languages, codecs in _FAMILIES:
        names = languages.split()
        bonus = _COLLECTION if expected in names else 0.0
        for codec, rarity in codecs:
            seen = _seen(words, codec)
            yield codec, rarity - bonus + min(seen.cost(_models()[name], codec) + around[name] for name in names)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a codec makes of the words: pairs with a letter beyond ASCII, and the cost of what no language has."""

    pairs: Counter[str]
    oddities: float

    def cost(self, model: _Model, codec: str) -> float:
        """Return the cost of the words in a language."""
        return self.oddities + sum(count * _pair_cost(pair, model, codec) for pair, count in self.pairs.items())


def _seen(words: Mapping[bytes, int], codec: str) -> _Seen:
    pairs: Counter[str] = Counter()
    oddities = 0.0
    for word, times in words.items():
        text = f" {_decoded(word, codec)} "
        weight = min(times, 3)
        for before, char, after in zip(text, text[1:], f"{text[2:]} ", strict=False):
            if before.isascii() and char.isascii():
                continue
            oddities += weight * _oddity(before, char, after)
            pair = _letter(before) + _letter(char)
            if pair.strip():
                pairs[pair] += weight
    return _Seen(pairs, oddities)


def _decoded(word: bytes, codec: str) -> str:
    cut = len(word) == MAX_WORD
    text = word.decode(codec, "replace")
    return text.rstrip("\ufffd") if cut else text


def _letter(char: str) -> str:
    """Return the letter in lower case; a blank for what is none."""
    return char.lower()[0] if char.isalpha() or _is_mark(char) else " "


@lru_cache(4096)
def _is_mark(char: str) -> bool:
    return unicodedata.category(char) == "Mn"


def _oddity(before: str, char: str, after: str) -> float:
    """Return the cost of what is odd in any language: symbols, symbols inside a word, case, mixed scripts."""
    if not char.isalpha():
        beside = 0 if _is_mark(char) or char in _JOINTS else before.isalpha() + after.isalpha()
        if char in _QUOTES:
            beside = beside // 2 * 2
        return 0.0 if char.isascii() else _symbol(char) + _INSIDE / 2 * beside
    if not before.isalpha():
        return 0.0
    return _CASE * (char.isupper() and before.islower()) + _MIXED * (_script(char) != _script(before))


@lru_cache(65_536)
def _symbol(char: str) -> float:
    """Return the cost of a character that is no letter; 0 for a letter."""
    if char in _COMMON:
        return _COMMON[char]
    category = unicodedata.category(char)
    if char == "\ufffd" or category in {"Cc", "Co", "Cn", "Cs"}:
        return _INVALID
    return 0.0 if category[0] in "LM" else _SYMBOL if not _is_han(char) else 6.0


@lru_cache(65_536)
def _script(char: str) -> str:
    if _is_han(char):
        return "CJK"
    return unicodedata.name(char, "?").partition(" ")[0]


def _is_han(char: str) -> bool:
    return any(first <= ord(char) <= last for first, last in _HAN)


def _pair_cost(pair: str, model: _Model, codec: str) -> float:
    """Return the cost of the second letter after the first; of a border after a letter, what it costs on average."""
    char = pair[1]
    if model.characters:
        return 0.0 if char == " " else _character_cost(char, model, codec)
    known = model.pairs.get(pair)
    if known is not None:
        return known
    if char in model.alone:
        return model.alone[char] + _UNPAIRED
    return 3.0 if char == " " else _FOREIGN


def _character_cost(char: str, model: _Model, codec: str) -> float:
    known = model.alone.get(char)
    if known is not None:
        return known
    if not _is_han(char):
        return _FOREIGN if not char.isascii() else 4.0
    return _FREQUENT if _is_frequent(char, codec) else _RARE


@lru_cache(65_536)
def _is_frequent(char: str, codec: str) -> bool:
    """Tell whether the character is of the first level of its national standard, or Hangul."""
    first, last, standard = {
        "gb18030": (0xB0, 0xD7, "gb2312"), "big5hkscs": (0xA4, 0xC6, "big5"), "cp949": (0xB0, 0xC8, "euc-kr"),
    }.get(codec, (0xB0, 0xCF, "euc-jp"))  # fmt: skip
    try:
        return first <= char.encode(standard)[0] <= last
    except UnicodeEncodeError:
        return False


def _around(sample: bytes) -> Mapping[str, float]:
    """Return for each language what the words in ASCII cost in it, above the cheapest; it says which language it is."""
    words = Counter(word.lower() for word in _ASCII_WORD.findall(sample[:32_768]))
    pairs: Counter[str] = Counter()
    for word, _ in words.most_common(100):
        pairs.update(a + b for a, b in pairwise(f" {word.decode('ascii')} "))
    latin = {name: model for name, model in _models().items() if "e" in model.alone}
    costs = {
        name: sum(n * min(_pair_cost(p, model, ""), 8.0) for p, n in pairs.items()) for name, model in latin.items()
    }
    least = min(costs.values())
    return {name: min((costs[name] - least) / 4, 6.0) if name in costs else 1.0 for name in _models()}


@cache
def _models() -> Mapping[str, _Model]:
    lines = Path(__file__).with_name("letter_pairs.txt").read_text(encoding="utf-8").split("\n")
    return dict(_model(line) for line in lines if line)


def _model(line: str) -> tuple[str, _Model]:
    name, _, table = line.partition("\t")
    pairs = {table[at : at + 2]: (ord(table[at + 2]) - ord("#")) / 4 for at in range(0, len(table), 3)}
    characters = all(pair[0] == " " for pair in pairs)
    alone: dict[str, float] = {}
    for pair, cost in pairs.items():
        alone[pair[1]] = cost if characters else min(cost + 2.0, alone.get(pair[1], 99.0))
    return name, _Model(pairs, alone, characters)
