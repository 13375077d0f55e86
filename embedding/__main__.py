"""``python -m embedding export [FOLDER]``: export the configured model to ONNX, say for an image without torch.

Prints the export's directory. A server finds it by ``FOOTNOTE_EMBEDDING__EXPORTS=FOLDER``; without FOLDER it is made
where a server of this data directory looks for it. Exits with 2 where it cannot be made (stderr says why in one line).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from config import logging
from config.errors import FootnoteError
from config.settings import Settings, SettingsError, load_settings
from embedding.errors import EmbeddingModelNotFound

CANNOT_EXPORT = 2


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        settings = load_settings()
        logging.configure(settings.log)
        print(_export(options.folder, settings))  # noqa: T201 (the command's output)
    except (SettingsError, FootnoteError) as exc:
        print(f"error: {' '.join(str(exc).split())}", file=sys.stderr)  # noqa: T201 (see above)
        return CANNOT_EXPORT
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m embedding", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export", help="export the configured model to ONNX")
    export.add_argument(
        "folder", nargs="?", type=Path, metavar="FOLDER", help="of exports (default: models/ in the data directory)"
    )
    return parser


def _export(folder: Path | None, settings: Settings) -> Path:
    from embedding.backends import export_into
    from embedding.exports import own_folder
    from embedding.files import find_model

    if settings.embedding.is_remote:
        msg = "another program runs the embedding model that the settings name: there is nothing to export"
        raise EmbeddingModelNotFound(msg)
    files = find_model(settings.embedding)
    try:
        export = export_into((folder or own_folder(settings)).resolve(), files, settings=settings)
    except FootnoteError:
        raise
    except Exception as exc:  # exporters raise anything; the message goes to the operator
        msg = f"{files.name} cannot be exported: {exc}"
        raise EmbeddingModelNotFound(msg) from exc
    if export.recipe is None:
        print("sentence-transformers has to run this export: servers need the extra `hub`", file=sys.stderr)  # noqa: T201 (see above)
    return export.directory


if __name__ == "__main__":
    sys.exit(main())
