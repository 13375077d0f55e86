"""Extras: dependencies that a base install does not have, and what is said where one is missing."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from config.errors import FootnoteError

MODULES: Mapping[str, tuple[str, ...]] = {"evaluation": ("ir_measures", "jinja2", "matplotlib", "pytrec_eval", "scipy")}
"""Modules by the extra that brings them, for those whose absence no other error explains."""


class ExtraMissing(FootnoteError):
    """Something was asked for whose extra is not installed; the message says how to install it."""

    slug = "extra-missing"


def require_extra(extra: str, *, purpose: str) -> None:
    """Raise `ExtraMissing` unless all modules of an extra can be imported; none is imported."""
    missing = [name for name in MODULES[extra] if find_spec(name) is None]
    if missing:
        msg = (
            f"{purpose} needs Footnote's extra `{extra}`, and {', '.join(missing)} cannot be imported; "
            "`make install` installs every extra, and the image `full` has them"
        )
        raise ExtraMissing(msg)
