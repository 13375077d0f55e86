"""Kinds of questions, read from ``kinds.toml``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

Kind = Literal["default", "number", "yesno", "option", "procedure", "definition", "list", "comparison", "condition"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NUMBER = re.compile(
    r"(?<![\w.])[-+]?\d[\d.,]*\s?(?:%|[kKMGT]i?B\b|ms\b|s\b|bytes?\b|seconds?\b|minutes?\b|hours?\b|days?\b)?"
    r"|\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|hundred|thousand|million|twice|once"
    r"|unlimited|null|eins?|zwei|drei|vier|fünf|sechs|sieben|acht|neun|zehn|zwölf|hundert|tausend|deux|trois|quatre|cinq"
    r"|dix|cent|mille|dos|tres|cuatro|cinco|diez|cien|mil)\b",
    re.IGNORECASE,
)
_READ = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def _compiled(kind: Kind, side: str, flags: re.RegexFlag = re.IGNORECASE) -> re.Pattern[str]:
    return re.compile("|".join(_READ[kind][side]), flags)


def _answered(kind: Kind) -> re.Pattern[str]:
    if kind == "number":
        return NUMBER
    exact = "answered_exactly" in _READ[kind]
    return _compiled(kind, "answered_exactly", re.NOFLAG) if exact else _compiled(kind, "answered")


ASKED: Mapping[Kind, re.Pattern[str]] = {kind: _compiled(kind, "asked") for kind in KINDS}
"""How a question of a kind is asked; a question may be of several, or of none."""

ANSWERED: Mapping[Kind, re.Pattern[str]] = {kind: _answered(kind) for kind in KINDS}
"""What a unit has that answers one."""
