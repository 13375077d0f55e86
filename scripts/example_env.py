"""Print ``config/example.env``: every setting, with its default and what it means.

python scripts/example_env.py > config/example.env
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a script's own directory comes first, not the root

from config.environment import FALLBACKS
from config.settings import Settings, setting_keys

HEAD = """\
# Every setting of Footnote. Copy this file to .env beside the Makefile and take the # away from what you change;
# an environment variable of the same name goes before it, and an empty value counts as not set.
# Secrets have no default here; docs/configuration.md says more.
"""


def example_env() -> str:
    """Return the file's text; each setting is commented out, so that the defaults stay in one place."""
    parts = [HEAD]
    for group, keys in groupby(setting_keys(), key=lambda key: key[1][:-1]):
        parts.append(f"\n# --- {title(group)}\n")
        parts += [f"\n# {description}\n#{name}={shown(default)}\n" for name, _, description, default in keys]
    names = "\n".join(f"#{name}=" for name in FALLBACKS)
    parts.append(f"\n# --- Names that other programs use too; the ones above go before them\n\n{names}\n")
    return "".join(parts)


def title(group: tuple[str, ...]) -> str:
    """Return a group's first line of documentation."""
    if not group:
        return "All of Footnote"
    documented = (type(Settings.model_fields[group[0]].default).__doc__ or "").strip().rstrip(".")
    return f"{group[0]}: {documented[0].lower()}{documented[1:]}"


def shown(default: object) -> str:
    """Return a default as it would be written in an environment variable; empty where there is none."""
    if default is None:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


if __name__ == "__main__":
    print(example_env(), end="")
