"""Documents with known text: what is in them, made of words that no two places share."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

_ONSETS = (
    "b",
    "br",
    "d",
    "dr",
    "f",
    "fl",
    "g",
    "gr",
    "h",
    "k",
    "l",
    "m",
    "n",
    "p",
    "pr",
    "r",
    "s",
    "st",
    "t",
    "tr",
    "v",
)
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ou")
_CODAS = ("", "l", "n", "r", "s", "m", "nd", "rt", "sk")


@dataclass(frozen=True)
class Cell:
    """A value of a table, and what its column is called."""

    header: str
    value: str


@dataclass(frozen=True)
class Truth:
    """What a file says.

    Attributes:
        words: its text, in the order in which it is read; empty where only some strings of it are known.
        cells: of its tables; each value is there once.
        pages: for each page some text that is on no other.

    """

    words: str = ""
    cells: tuple[Cell, ...] = ()
    pages: tuple[str, ...] = ()


@dataclass
class Writer:
    """Makes up text; the same seed makes the same."""

    seed: int
    _used: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 (an example, no secret)

    def word(self) -> str:
        """Return a word that it has not returned before."""
        while True:
            word = "".join(
                self._random.choice(_ONSETS) + self._random.choice(_VOWELS) + self._random.choice(_CODAS)
                for _ in range(self._random.choice([2, 2, 3]))
            )
            if word not in self._used:
                self._used.add(word)
                return word

    def sentence(self, words: int = 11) -> str:
        """Return a sentence of so many words."""
        return " ".join(self.word() for _ in range(words)).capitalize() + "."

    def paragraph(self, sentences: int = 4) -> str:
        """Return a paragraph."""
        return " ".join(self.sentence() for _ in range(sentences))

    def title(self) -> str:
        """Return a heading of three words."""
        return f"{self.word()} {self.word()} {self.word()}".capitalize()

    def table(self, rows: int, columns: int) -> list[list[str]]:
        """Return a table with its header; the first column holds words, the others numbers, all of them unlike."""
        header = [self.word().capitalize() for _ in range(columns)]
        numbers = self._random.sample(range(1000, 9999), rows * (columns - 1))
        values = [f"{number / 100:.2f}" if number % 100 % 10 else str(number) for number in numbers]
        return [
            header,
            *([self.word(), *values[row * (columns - 1) : (row + 1) * (columns - 1)]] for row in range(rows)),
        ]


def cells_of(table: list[list[str]]) -> tuple[Cell, ...]:
    """Return the cells of a table whose first row is its header."""
    return tuple(Cell(name, value) for row in table[1:] for name, value in zip(table[0], row, strict=True))


def text_of(table: list[list[str]]) -> str:
    """Return the words of a table in their order."""
    return "\n".join(" ".join(row) for row in table)
