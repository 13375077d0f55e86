"""Secrets in files, as Docker has them: ``NAME_FILE`` names the file for every secret setting ``NAME``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

FILE = "_file"
MAX_BYTES = 64 * 1024


def with_secrets_of_files(given: Mapping[str, object], secrets: Sequence[str]) -> dict[str, object]:
    """Return what is given for a group of settings, with secrets read from the files that ``<name>_file`` names.

    Raises:
        ValueError: a file cannot be read or is empty, or the secret is set, too. The text does not show its content.

    """
    values = dict(given)
    for name in secrets:
        file = values.pop(name + FILE, None)
        if file is None:
            continue
        setting = name.upper()
        if values.get(name) is not None:
            msg = f"set {setting} or {setting}{FILE.upper()}, not both"
            raise ValueError(msg)
        values[name] = read_secret(Path(str(file)), setting + FILE.upper())
    return values


def read_secret(file: Path, setting: str) -> str:
    """Return a file's text without the line end that editors write.

    Raises:
        ValueError: it cannot be read, or is empty. The text names the setting and does not show its content.

    """
    try:
        if not file.is_file():
            msg = f"{setting}: {file} is no file"
            raise ValueError(msg)
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as exc:
        msg = f"{setting}: {file} cannot be read ({type(exc).__name__})"
        raise ValueError(msg) from None
    if len(content) > MAX_BYTES or not text.strip():
        msg = f"{setting}: {file} is empty, or too long for a secret"
        raise ValueError(msg)
    return text.strip()
