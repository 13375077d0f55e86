"""The lines with which definitions begin, in the languages that people write."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

LONGEST_LINE = 400  # characters; a longer one is data
_DEEPEST = 8  # columns of indentation of a definition that nothing encloses
_TAB = 4


class Definition(NamedTuple):
    """A definition: its line from 0, its level from 1, and its name; without a name it ends the one before."""

    line: int
    level: int
    name: str


class _Rule(NamedTuple):
    """How a definition begins; `holds` tells whether definitions in it are its members."""

    pattern: re.Pattern[str]
    holds: bool = False


_MODIFIERS = (
    r"(?:(?:export|default|public|private|protected|internal|static|abstract|final|async|override|virtual|sealed|partial"
    r"|open|data|case|inner|value|annotation|pub(?:\([\w: ]+\))?|unsafe|const|constexpr|inline|extern(?:\s\"\w*\")?"
    r"|local|suspend|readonly|declare|fileprivate|mutating|implicit|native|synchronized|typedef|template\s?<[^>]*>)\s+)*+"
)
_AFTER = (
    r"(?=\s*(?:[({:<=\[;,]|$|//|\#|--|/\*|\b(?:extends|implements|for|where|is|as|returns?|do|begin|with|throws|derives"
    r"|inherits|final)\b))"
)
_HOLDERS = (
    r"(?:class|struct|interface|trait|enum(?:\s+(?:class|struct))?|union|mod|module|namespace|object|protocol|extension"
    r"|record|mixin|actor|defmodule|service|message|contract|library|abstract\s+type)"
)
_CALLABLES = r"(?:def|defp|defmacro|func|fun|fn|function\*?|sub|procedure|macro|rpc|macro_rules!)"
_WORD = r"(?P<name>[\w$][\w$.:?!*]*)"
_NO_CALL = (
    r"(?!(?:if|for|while|switch|catch|return|else|do|new|throw|await|yield|delete|case|sizeof|using|foreach|lock)\b)"
)


def _rule(pattern: str, *, holds: bool = False, flags: int = 0) -> _Rule:
    return _Rule(re.compile(r"(?P<indent>[ \t]*)" + pattern, flags), holds)


_COMMON = (
    _rule(rf"{_MODIFIERS}{_HOLDERS}\s+{_WORD}{_AFTER}(?!.*;\s*$)", holds=True),
    _rule(rf"(?:unsafe\s+)?impl\b(?:<[^>]*>)?\s+(?:[^{{]*?\bfor\s+)?{_WORD}", holds=True),
    _rule(rf"{_MODIFIERS}{_CALLABLES}\s+(?:<[^>]*>\s*)?{_WORD}{_AFTER}"),
    _rule(r"func\s+\(\s*\w*\s*\*?(?P<of>\w+)[^)]*\)\s*(?P<name>\w+)"),
    _rule(
        rf"{_MODIFIERS}type(?:alias)?\s+{_WORD}(?=\s*(?:<[^>]*>)?\s*(?:=|struct|interface|func|\w+$|\{{|implements))"
    ),
)
_C = (
    _rule(rf"{_NO_CALL}(?:[\w:<>,\[\]~?@.]+[\s*&]+)+?(?P<name>~?[\w:]+)\s*\([^;]*$"),
    _rule(r"(?P<name>[A-Z]\w*(?:::~?\w+)?)\s*\([^;=]*\)[^;=]*\{\s*$"),
    _rule(r"(?P<name>[a-z_]\w*)\s*\((?=[^;=]*$)(?![^\n]*\{.*\S)(?:[^;=]*)$"),
)
_SCRIPT = (
    _rule(
        rf"(?:export\s+)?(?:const|let|var)\s+{_WORD}\s*(?::[^=]*)?=\s*(?:async\s*)?(?:function\b|\([^)]*\)\s*(?::[^=]*)?=>|\w+\s*=>)"
    ),
    _rule(rf"(?:module\.)?exports\.{_WORD}\s*=\s*(?:async\s*)?(?:function\b|\()"),
    _rule(
        rf"{_NO_CALL}{_MODIFIERS}(?:get\s+|set\s+|\*\s*)?(?P<name>[\w$#]+)\s*(?:<[^>]*>)?\([^;]*\)\s*(?::[^;=]*)?\{{\s*$"
    ),
)
_SQL_NAME = r"(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>(?:\"[^\"]+\"|`[^`]+`|\[[^\]]+\]|[\w$.])+)"
_SQL = (
    _rule(
        r"CREATE\s+(?:OR\s+\w+\s+)?(?:(?:GLOBAL|LOCAL|TEMP|TEMPORARY|UNLOGGED|UNIQUE|MATERIALIZED|FOREIGN|CONSTRAINT)\s+)*"
        rf"(?:TABLE|VIEW|FUNCTION|PROCEDURE|TRIGGER|INDEX|TYPE|SCHEMA|SEQUENCE|DOMAIN|EXTENSION|ROLE|USER|DATABASE|PACKAGE"
        rf"(?:\s+BODY)?|POLICY|RULE|AGGREGATE|EVENT)\s+(?:CONCURRENTLY\s+)?{_SQL_NAME}",
        flags=re.IGNORECASE,
    ),
    _rule(rf"(?:INSERT\s+INTO|COPY)\s+{_SQL_NAME}", flags=re.IGNORECASE),
)
_KEYS = (_rule(r"(?P<name>[A-Za-z_\"'/][^:#\n]{0,99}?):(?=\s|$)"),)
_TABLES = (_rule(r"\[\[?\s*(?P<name>[^\[\]]{1,200})\]\]?\s*(?:[#;].*)?$"),)
_BLOCKS = (_rule(r"(?P<name>\w+(?:\s+\"[^\"]*\")*)\s*\{\s*$"), _rule(r"(?P<name>\w+)\s*=(?!=)"))
_SHELL = (
    _rule(r"(?:function\s+)?(?P<name>[\w.:-]+)\s*\(\)\s*[{(]?"),
    _rule(r"function\s+(?P<name>[\w.:-]+)\s*\{?\s*$"),
)
_LISP = (_rule(r"\((?:def[\w-]*|define[\w-]*|ns)\s+\(?(?P<name>[^\s()\[\]]+)"),)
_R = (_rule(r"(?P<name>[\w.]+)\s*(?:<-|=)\s*function\s*\("),)
_HASKELL = (
    _rule(r"(?P<name>[a-z_][\w']*)\s*::"),
    _rule(r"(?:data|newtype|class|instance|module|type|let(?:\s+rec)?|val)\s+(?P<name>[\w'.]+)"),
)
_MAKE = (_rule(r"(?P<name>[\w./%$()-][^:=#\t]*?)\s*::?(?!=)"),)
_PATCH = (_rule(r"diff --git a/(?P<name>\S+)"), _rule(r"Index: (?P<name>\S+)"))
_ERLANG = (_rule(r"(?P<name>[a-z]\w*)\([^)]*\)[^.]*->"), _rule(r"-module\((?P<name>\w+)\)"))

_RULES: dict[str, tuple[_Rule, ...]] = {
    suffix: rules
    for suffixes, rules in (
        ("c h cc cpp cxx hpp hh cs java m mm dart zig", (*_COMMON, *_C)),
        ("js mjs cjs jsx ts tsx vue svelte", (*_COMMON, *_SCRIPT)),
        ("sql", _SQL),
        ("yaml yml", _KEYS),
        ("toml ini cfg conf properties", _TABLES),
        ("tf hcl", _BLOCKS),
        ("sh bash zsh fish ps1", (*_SHELL, *_COMMON[2:3])),
        ("clj cljs lisp el scm", _LISP),
        ("r", _R),
        ("hs ml mli", _HASKELL),
        ("mk", _MAKE),
        ("diff patch", _PATCH),
        ("erl", _ERLANG),
        ("css scss less env xml xsd xsl bat s asm cmake", ()),
    )
    for suffix in suffixes.split()
}
_FLAT_SUFFIXES = "sql yaml yml toml ini cfg conf properties tf hcl clj cljs lisp el scm r hs ml mli mk diff patch erl"
_FLAT = frozenset(_FLAT_SUFFIXES.split())
_CASELESS = frozenset({"pas", "vb", "f90", "f95", "ps1"})


def definitions(lines: Sequence[str], suffix: str) -> Iterator[Definition]:
    """Yield the definitions of code in their order.

    Args:
        lines: of the code.
        suffix: of its file without the dot, in small letters.

    """
    rules = _RULES.get(suffix, _COMMON)
    read: Callable[[str], str] = str.lower if suffix in _CASELESS else str
    enclosing: list[tuple[int, bool]] = []
    last = ""
    for number, line in enumerate(lines if rules else ()):
        if not line or len(line) > LONGEST_LINE or (suffix in _FLAT and line[0].isspace()):
            continue
        found = _found(rules, read(line))
        if found is None:
            continue
        rule, match = found
        indent = len(match["indent"].expandtabs(_TAB))
        while enclosing and enclosing[-1][0] >= indent:
            enclosing.pop()
        if (enclosing and not enclosing[-1][1]) or (not enclosing and indent > _DEEPEST):
            continue  # within a function
        name = _name(match, line)
        if suffix == "sql" and name == last:
            continue
        last = name
        yield Definition(number, len(enclosing) + 1, name)
        enclosing.append((indent, rule.holds))


def _found(rules: Sequence[_Rule], line: str) -> tuple[_Rule, re.Match[str]] | None:
    for rule in rules:
        if match := rule.pattern.match(line):
            return rule, match
    return None


def _name(match: re.Match[str], line: str) -> str:
    name = line[match.start("name") : match.end("name")].strip(" :")
    if name[:1] in "\"'`":
        name = name.strip("\"'`")
    return f"{match['of']}.{name}" if match.groupdict().get("of") else name
