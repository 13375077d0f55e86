r"""Numbers as a spreadsheet shows them: format codes such as ``0.0%`` and ``[hh]:mm`` (ECMA-376, part 1, 18.8.31).

Dates by the format that follows a computer's language (14, 22) are shown as ISO 8601; names of months are English.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from functools import lru_cache
from types import MappingProxyType

GENERAL = "General"
BUILT_IN: Mapping[int, str] = MappingProxyType({
    0: GENERAL, 1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 9: "0%", 10: "0.00%", 11: "0.00E+00", 12: "# ?/?",
    13: "# ??/??", 14: "yyyy-mm-dd", 15: "d-mmm-yy", 16: "d-mmm", 17: "mmm-yy", 18: "h:mm AM/PM", 19: "h:mm:ss AM/PM",
    20: "h:mm", 21: "h:mm:ss", 22: "yyyy-mm-dd hh:mm", 37: "#,##0;(#,##0)", 38: "#,##0;(#,##0)",
    39: "#,##0.00;(#,##0.00)", 40: "#,##0.00;(#,##0.00)", 41: "#,##0", 42: "#,##0", 43: "#,##0.00", 44: "#,##0.00",
    45: "mm:ss", 46: "[h]:mm:ss", 47: "mm:ss.0", 48: "##0.0E+0", 49: "@",
    **dict.fromkeys([*range(27, 37), *range(50, 59)], "yyyy-mm-dd"),
})  # fmt: skip
_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"?|\\(?P<escaped>.)|[_*].|\[(?P<bracket>[^\]]*)\]|(?P<general>General)'
    r"|(?P<half>AM/PM|A/P|上午/下午)|(?P<exponent>E[+-])|(?P<date>y+|m+|d+|h+|s+|e+)"
    r"|(?P<fraction>\.0+(?=[^0#?]|$))"
    r"|(?P<digit>[0#?])|(?P<char>.)",
    re.IGNORECASE | re.DOTALL,
)
_ELAPSED = re.compile(r"h+|m+|s+", re.IGNORECASE)
_CONDITION = re.compile(r"(<=|>=|<>|<|>|=)\s*(-?\d+(?:\.\d+)?)")
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_MOST_CODE = 255


@dataclass(frozen=True, slots=True)
class Section:
    """One of a code's parts between semicolons; tokens are pairs of kind and text."""

    tokens: tuple[tuple[str, str], ...]
    condition: tuple[str, float] | None

    @property
    def is_date(self) -> bool:
        """Whether it shows a date, a time or a duration."""
        return any(kind in {"date", "elapsed"} for kind, _ in self.tokens)


def shown(value: float, code: str, *, since_1904: bool = False) -> str:
    """Return a number as a cell of this format shows it; as it is if the format cannot show it, or shows nothing."""
    try:
        return _by(value, _sections(code[:_MOST_CODE]), since_1904=since_1904).strip() or general(value)
    except (ValueError, OverflowError, ArithmeticError, IndexError):
        return general(value)


def shown_text(value: str, code: str) -> str:
    """Return a text as a cell of this format shows it: ``"No. "@`` puts words around it."""
    if "@" not in code or code == "@":
        return value
    section = _sections(code[:_MOST_CODE])[-1]
    if ("char", "@") not in section.tokens:
        return value
    return "".join(value if token == ("char", "@") else token[1] for token in section.tokens).strip()


def general(value: float) -> str:
    """Return a number in 15 digits, which is what a spreadsheet keeps."""
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):  # noqa: PLR2004 (a double's exact integers)
        return str(int(value))
    return f"{value:.15g}".replace("e", "E")


def is_date(code: str) -> bool:
    """Tell whether a format shows numbers as dates or times."""
    return _sections(code[:_MOST_CODE])[0].is_date


@lru_cache(maxsize=1024)
def _sections(code: str) -> tuple[Section, ...]:
    sections: list[Section] = []
    tokens: list[tuple[str, str]] = []
    condition: tuple[str, float] | None = None
    for match in _TOKEN.finditer(code + ";"):
        kind, text = match.lastgroup or "", match[match.lastgroup] if match.lastgroup else ""
        if kind == "char" and text == ";":
            sections.append(Section(tuple(_told_apart(tokens)), condition))
            tokens, condition = [], None
        elif kind == "bracket":
            found = _CONDITION.match(text)
            condition = (found[1], float(found[2])) if found else condition
            tokens += _bracket(text)
        elif kind:
            tokens.append(("literal" if kind in {"quoted", "escaped"} else kind, text))
    return tuple(sections)


def _bracket(text: str) -> list[tuple[str, str]]:
    """Return what brackets show: elapsed time, a currency's sign; colours and conditions show nothing."""
    if _ELAPSED.fullmatch(text):
        return [("elapsed", text.lower())]
    sign = text[1:].partition("-")[0] if text.startswith("$") else ""
    return [("literal", sign)] if sign else []


def _told_apart(tokens: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Tell minutes from months: minutes are next to hours or seconds."""
    dates = [at for at, (kind, _) in enumerate(tokens) if kind in {"date", "elapsed"}]
    told = list(tokens)
    for place, at in enumerate(dates):
        before = tokens[dates[place - 1]][1].lower() if place else ""
        after = tokens[dates[place + 1]][1].lower() if place + 1 < len(dates) else ""
        if tokens[at][0] == "date":
            minute = tokens[at][1].lower() in {"m", "mm"} and (before.startswith("h") or after.startswith("s"))
            told[at] = ("date", "n" * len(tokens[at][1]) if minute else tokens[at][1].lower())
    return told


def _by(value: float, sections: tuple[Section, ...], *, since_1904: bool) -> str:
    section, signed = _chosen(value, sections)
    if section.is_date:
        return _date(value, section, since_1904=since_1904)
    if any(kind == "general" for kind, _ in section.tokens):
        own = general(abs(value) if not signed else value)
        return "".join(own if kind == "general" else text for kind, text in section.tokens)
    if ("char", "@") in section.tokens:
        return general(value)
    return _number(Decimal(repr(value)), section, signed=signed)


def _chosen(value: float, sections: tuple[Section, ...]) -> tuple[Section, bool]:
    """Return the section for a number, and whether its sign is shown."""
    if any(section.condition for section in sections):
        for at, section in enumerate(sections):
            if section.condition is None or _holds(value, section.condition):
                return section, at == 0 or section.condition is None
        return sections[-1], True
    if value < 0 and len(sections) > 1:
        return sections[1], False
    return (sections[2], True) if value == 0 and len(sections) > 2 else (sections[0], True)  # noqa: PLR2004 (the third)


def _holds(value: float, condition: tuple[str, float]) -> bool:
    sign, bound = condition
    return {
        "<": value < bound, "<=": value <= bound, ">": value > bound, ">=": value >= bound, "=": value == bound,
        "<>": value != bound,
    }[sign]  # fmt: skip


def _number(value: Decimal, section: Section, *, signed: bool) -> str:
    """Fill a section's places for digits."""
    texts = [text if kind in {"char", "digit", "exponent", "fraction"} else "" for kind, text in section.tokens]
    value *= Decimal(100) ** texts.count("%") / Decimal(1000) ** _thousands_off(section)
    if any(kind == "exponent" for kind, _ in section.tokens):
        return _scientific(value, section)
    if "/" in texts and any(kind == "digit" for kind, _ in section.tokens):
        return _as_fraction(value, section)
    places = _decimals(section)
    digits = f"{abs(value).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):f}"
    whole, _, part = digits.partition(".")
    minus = "-" if signed and value < 0 and digits.strip("0.") else ""
    return minus + _filled(whole.lstrip("0"), part, section)


def _flat(section: Section) -> list[tuple[str, str]]:
    """Return the tokens with ``.00`` as single places."""
    return [
        pair
        for kind, text in section.tokens
        for pair in ([("char", "."), *[("digit", "0")] * (len(text) - 1)] if kind == "fraction" else [(kind, text)])
    ]


def _point(tokens: list[tuple[str, str]]) -> int:
    return next((at for at, token in enumerate(tokens) if token == ("char", ".")), len(tokens))


def _decimals(section: Section) -> int:
    tokens = _flat(section)
    return min(30, sum(kind == "digit" for kind, _ in tokens[_point(tokens) :]))


def _thousands_off(section: Section) -> int:
    """Count the commas behind the last place for a digit: each divides by a thousand."""
    tokens = _flat(section)
    last = max((at for at, (kind, _) in enumerate(tokens) if kind == "digit"), default=-1)
    count = 0
    while last >= 0 and last + count + 1 < len(tokens) and tokens[last + count + 1] == ("char", ","):
        count += 1
    return count


def _filled(whole: str, part: str, section: Section) -> str:
    tokens = _flat(section)
    point = _point(tokens)
    digits = [at for at, (kind, _) in enumerate(tokens[:point]) if kind == "digit"]
    grouped = any(token == ("char", ",") for token in tokens[digits[0] : digits[-1]]) if digits else False
    left: list[str] = []
    count = 0
    for at in range(point - 1, -1, -1):
        kind, text = tokens[at]
        if kind != "digit":
            left.append("" if kind == "char" and text == "," else text)
            continue
        wanted = whole[len(whole) - 1 :] or ("0" if text == "0" else "")
        rest, whole = (whole, "") if at == digits[0] else (wanted, whole[:-1])
        for digit in reversed(rest or wanted):
            left.append("," if grouped and count and count % 3 == 0 else "")
            left.append(digit)
            count += 1
    behind = tokens[point:]
    kept = part.rstrip("0")
    right: list[str] = []
    place = 0
    for kind, text in behind:
        if kind == "digit":
            right.append(part[place : place + 1] if text == "0" or place < len(kept) else "")
            place += 1
        else:
            right.append("" if kind == "char" and text == "," else text)
    return "".join(reversed(left)) + "".join(right).removesuffix(".")


def _scientific(value: Decimal, section: Section) -> str:
    if any(kind == "fraction" for kind, _ in section.tokens) or ("char", ".") in section.tokens:
        tokens = _flat(section)
        end = next(at for at, (kind, _) in enumerate(tokens) if kind == "exponent")
        places = sum(kind == "digit" for kind, _ in tokens[_point(tokens) : end])
    else:
        places = 0
    mantissa, _, exponent = f"{value:.{places}E}".partition("E")
    return f"{mantissa}E{exponent[0]}{exponent[1:].zfill(2)}"


def _as_fraction(value: Decimal, section: Section) -> str:
    texts = [text for kind, text in section.tokens if kind in {"char", "digit"}]
    slash = texts.index("/")
    below = "".join(texts[slash + 1 :]).strip()
    if below.isdigit() and int(below):
        fraction = Fraction(round(Fraction(value) * int(below)), int(below))
    else:
        fraction = Fraction(value).limit_denominator(10 ** min(below.count("?") + below.count("#"), 4) - 1 or 9)
    whole, rest = divmod(abs(fraction), 1)
    parts = [str(whole) if whole or not rest else "", f"{rest.numerator}/{rest.denominator}" if rest else ""]
    return ("-" if fraction < 0 else "") + " ".join(filter(None, parts))


def _date(value: float, section: Section, *, since_1904: bool) -> str:
    """Show a day's number; times are rounded to the seconds, or their parts, that are shown."""
    places = max((len(text) - 1 for kind, text in section.tokens if kind == "fraction"), default=0)
    seconds = round(Decimal(repr(value)) * 86_400, places)
    at = _moment(seconds, since_1904=since_1904)
    halves = any(kind == "half" for kind, _ in section.tokens)
    return "".join(_date_part(kind, text, at, seconds, halves=halves) for kind, text in section.tokens)


def _moment(seconds: Decimal, *, since_1904: bool) -> datetime:
    if seconds < 0 and not since_1904:
        msg = "no such day"
        raise ValueError(msg)
    # Excel's year 1900 has a 29th of February, the 60th day
    first = datetime(1904, 1, 1) if since_1904 else datetime(1899, 12, 31 if seconds < 60 * 86_400 else 30)  # noqa: DTZ001
    return first + timedelta(microseconds=int(seconds * 1_000_000))


def _date_part(kind: str, text: str, at: datetime, seconds: Decimal, *, halves: bool) -> str:  # noqa: PLR0911 (a table)
    if kind == "elapsed":
        return str(int(seconds) // {"h": 3600, "m": 60, "s": 1}[text[0]]).zfill(len(text))
    if kind == "half":
        return ("AM" if at.hour < 12 else "PM")[: 2 if len(text) > 3 else 1]  # noqa: PLR2004 (noon, and A/P)
    if kind == "fraction":
        return f".{at.microsecond:06d}"[: len(text)]
    if kind != "date":
        return text
    hour = (at.hour % 12 or 12) if halves else at.hour
    number = {"d": at.day, "m": at.month, "n": at.minute, "h": hour, "s": at.second}.get(text[0])
    if number is None:
        return f"{at.year:04d}" if len(text) > 2 or text[0] == "e" else f"{at.year % 100:02d}"  # noqa: PLR2004 (yy)
    if text[0] in "dm" and len(text) > 2:  # noqa: PLR2004 (dd, mm)
        name = _DAYS[at.weekday()] if text[0] == "d" else _MONTHS[at.month - 1]
        return name if len(text) == 4 else name[: {3: 3, 5: 1}.get(len(text))]  # noqa: PLR2004 (in full)
    return str(number).zfill(len(text))
