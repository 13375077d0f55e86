"""Print ``docs/configuration.md``: the settings as tables, from the settings themselves.

python scripts/configuration_page.py > docs/configuration.md
"""

from __future__ import annotations

from itertools import groupby

from example_env import shown, title

from config.environment import FALLBACKS, PREFIX
from config.settings import setting_keys

HEAD = f"""\
# Configuration

Footnote is configured by environment variables. Their names begin with `{PREFIX}`; groups are joined by two
underscores, as in `FOOTNOTE_SERVER__PORT`. The same names may stand in a file `.env` in the directory that Footnote is
started from; `config/example.env` is a copy to start from. There is no other configuration file.

## Where a value comes from

The first of these that has a value wins; an empty value counts as none.

1. An environment variable with the prefix `{PREFIX}`.
2. The file `.env` in the working directory.
3. A name that other programs use too: {{fallbacks}}.
4. The default in the tables below.

## Secrets in files

Every secret `NAME` (keys, the URLs of the database and of Redis, headers of telemetry) may stand in a file that
`NAME_FILE` names, such as a secret of Docker or Kubernetes: `FOOTNOTE_LLM__API_KEY_FILE=/run/secrets/llm`. White space
around it does not count. Setting both is refused; a file goes before a name that other programs use, too.

## How to change the port, the host or the data directory

`FOOTNOTE_SERVER__PORT` is the port (8000 unless set), `FOOTNOTE_SERVER__HOST` the host or address to listen on, and
`FOOTNOTE_DATA_DIR` the directory of the embedded database and the exported models. For one run:

    FOOTNOTE_SERVER__PORT=8080 FOOTNOTE_DATA_DIR=/srv/footnote make run

To keep it so, write the same lines into `.env`. On an address that others can reach, the server starts once
`FOOTNOTE_AUTH__MODE` says whether they need keys ([authentication](authentication.md)).

## When a setting is wrong

An unknown name under `{PREFIX}`, or a value that does not fit, stops the start with one line that names the
setting; for a misspelt name it suggests the right one. A name of the last release still works, or has no effect if the
setting is gone; either way the log has one line of warning. Secrets (the URLs of the database and of Redis, API keys)
never appear in such a line, in logs or in error messages. Settings are read once, at startup: after a change, restart
the server.
"""


def configuration_page() -> str:
    """Return the page's text."""
    fallbacks = ", ".join(f"`{name}` for `{PREFIX}{'__'.join(path).upper()}`" for name, path in FALLBACKS.items())
    parts = [HEAD.format(fallbacks=fallbacks)]
    for group, keys in groupby(setting_keys(), key=lambda key: key[1][:-1]):
        parts.append(f"\n## {title(group)}\n\n| Setting | Default | Meaning |\n|---|---|---|\n")
        for name, _, description, default in keys:
            value = f"`{shown(default)}`" if shown(default) else "not set"
            parts.append(f"| `{name}` | {value} | {description.replace('|', chr(92) + '|')} |\n")
    return "".join(parts)


if __name__ == "__main__":
    print(configuration_page(), end="")
