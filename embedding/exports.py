"""Models exported to ONNX, with what it takes to run them; the embedding model's and a cross-encoder's alike.

An export is a folder, named by the model and its revision: the ONNX file, the tokenizer, and ``export.json``, its
record. The record holds the recipe (pooling, prompts, lengths: what sentence-transformers would know), the size and
hash of the files, and the versions of the libraries that made it. With a recipe, onnxruntime and tokenizers alone run
the model. Without one, sentence-transformers runs it: it has parts that we do not run, or our results differed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Generic, TypeVar

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from config.settings import Settings
from embedding.errors import ExportersMissing

FORMAT = 1
"""Of the folder and of its record; another one is made anew."""

RECORD = "export.json"
ONNX_FILE = "onnx/model.onnx"
INT8_FILE = "onnx/model_quint8.onnx"
TOKENIZER_FILE = "tokenizer.json"
EXPORTERS = ("onnx", "optimum", "optimum-onnx", "sentence-transformers", "torch", "transformers")
RUNNERS = ("onnxruntime", "tokenizers")

_log = structlog.get_logger(__name__)
_exporting = threading.Lock()  # the lock on the folder is between processes


class _Values(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Recipe(_Values):
    """How to run an exported model.

    Attributes:
        max_tokens: that the model reads, special tokens included.
        pad_id: the token that fills up shorter texts.

    """

    max_tokens: int
    pad_id: int


R = TypeVar("R", bound=Recipe)


class FileState(_Values):
    """A file of an export; `modified` is in seconds since 1970."""

    size: int
    modified: int
    sha256: str


class Record(_Values):
    """What is written beside an export; see the module."""

    format: int
    model: str
    revision: str
    recipe: dict[str, Any] | None
    files: dict[str, FileState]
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Export(Generic[R]):
    """An export that can be used; without a recipe sentence-transformers runs it."""

    directory: Path
    recipe: R | None


@dataclass(frozen=True, slots=True)
class ExportKind(Generic[R]):
    """The exports of one model.

    Attributes:
        name: of the export's directory.
        model: its name, as configured.
        revision: the hub's commit, a hash of its files, or a wheel's version.
        recipe: the class of its recipe.
        onnx_file: the file that is run.

    """

    name: str
    model: str
    revision: str
    recipe: type[R]
    onnx_file: str = ONNX_FILE

    @property
    def _making(self) -> str:
        if self.onnx_file == INT8_FILE:
            return f"quantizing the model {self.model} to 8-bit numbers, which are faster still: some ten seconds"
        return f"converting the model {self.model} to ONNX, in which it runs faster: up to a minute"

    def find(self, settings: Settings) -> Export[R] | None:
        """Return an export that fits: a ready-made one, else the one in the data directory, else None."""
        for folder in _folders(settings):
            if (found := self.at(folder)) is not None:
                return found
        return None

    def at(self, folder: Path) -> Export[R] | None:
        """Return the export in a folder of exports, if it is there and fits.

        The libraries' versions count where they could make it anew. Where they are not installed nothing would come out
        otherwise: the files decide the results, and they are those that were compared.
        """
        directory = folder / self.name
        record = _read(directory)
        if record is None:
            return None
        try:
            recipe = self.recipe.model_validate(record.recipe) if record.recipe is not None else None
        except ValidationError:
            return None
        fits = (
            record.format == FORMAT
            and record.revision == self.revision
            and {self.onnx_file, TOKENIZER_FILE} <= record.files.keys()
            and (record.versions == _versions() or bool(missing_exporters()))
            and all(_is_unchanged(directory / name, state) for name, state in record.files.items())
        )
        return Export(directory, recipe) if fits else None

    def found_or_made(self, settings: Settings, write: Callable[[Path], R | None]) -> Export[R]:
        """Return an export that fits; make one in the data directory if there is none, see `made`."""
        return self.find(settings) or self.made(own_folder(settings), write)

    def made(self, folder: Path, write: Callable[[Path], R | None]) -> Export[R]:
        """Make the export anew in a folder of exports, unless one that fits is there, perhaps from another process.

        `write` fills an empty directory and returns the recipe. It raises whatever the libraries raise.

        Raises:
            ExportersMissing: they are not installed.

        """
        import fasteners

        if missing := missing_exporters():
            msg = (
                f"there is no export of {self.model} that can be used, and what makes one is not installed "
                f"({', '.join(missing)}): install Footnote's extra `hub`, or name a folder that holds one in "
                "FOOTNOTE_EMBEDDING__EXPORTS"
            )
            raise ExportersMissing(msg)
        folder.mkdir(parents=True, exist_ok=True)
        # the server and its worker start together: one exports, the other one waits for it
        with _exporting, fasteners.InterProcessLock(folder / ".lock"):
            if (found := self.at(folder)) is not None:
                return found
            _log.info(f"{self._making}; once, as it is kept", folder=str(folder), shown=True)
            with _without_advice(), tempfile.TemporaryDirectory(dir=folder, prefix="exporting-") as scratch:
                made = Path(scratch) / self.name
                made.mkdir()
                recipe = write(made)
                record = Record(
                    format=FORMAT,
                    model=self.model,
                    revision=self.revision,
                    recipe=recipe.model_dump() if recipe else None,
                    files={str(path.relative_to(made)): _state(path) for path in made.rglob("*") if path.is_file()},
                    versions=_versions(),
                )
                (made / RECORD).write_text(record.model_dump_json(indent=1) + "\n", "utf-8")
                if (folder / self.name).exists():
                    (folder / self.name).rename(Path(scratch) / "outdated")
                made.rename(folder / self.name)
        return Export(folder / self.name, recipe)


def ready_made(
    folder: Path | None, *, model: str, revision: str | None, kind: Callable[[str], ExportKind[R]]
) -> tuple[Path, str] | None:
    """Return the directory and the revision of an export that fits, of a model of this name; None if there is none.

    Args:
        folder: of ready-made exports.
        model: its name, as configured.
        revision: None for any.
        kind: the model's exports, given the revision.

    """
    for path in sorted(folder.expanduser().glob(f"*/{RECORD}")) if folder else ():
        record = _read(path.parent)
        if record is None or record.model != model or revision not in (None, record.revision):
            continue
        if (found := kind(record.revision).at(path.parent.parent)) is not None:
            return found.directory, record.revision
    return None


@contextmanager
def _without_advice() -> Iterator[None]:
    """Silence what libraries advise about exports: to keep them, which is what we do, and to say things otherwise."""
    for library in ("transformers", "sentence_transformers"):
        import_module(library)  # sets its level itself, at first
        logging.getLogger(library).setLevel(logging.ERROR)
    root = logging.getLogger()  # which onnxruntime's quantization logs to
    root.addFilter(_is_error)
    try:
        yield
    finally:
        root.removeFilter(_is_error)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def own_folder(settings: Settings) -> Path:
    """Return the folder of the exports that are made here."""
    return settings.data_dir.expanduser().resolve() / "models"


def missing_exporters() -> tuple[str, ...]:
    """Return the names of the libraries that are not installed, of those that export a model."""
    return tuple(name for name in EXPORTERS if _version(name) is None)


def _versions() -> dict[str, str]:
    return {name: found for name in (*EXPORTERS, *RUNNERS) if (found := _version(name)) is not None}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _folders(settings: Settings) -> list[Path]:
    ready = [settings.embedding.exports.expanduser()] if settings.embedding.exports else []
    return [*ready, own_folder(settings)]


def _read(directory: Path) -> Record | None:
    try:
        return Record.model_validate_json((directory / RECORD).read_bytes())
    except (OSError, ValidationError):
        return None


def _state(path: Path) -> FileState:
    status = path.stat()
    modified = int(status.st_mtime)
    os.utime(path, (modified, modified))  # container images keep whole seconds only; whoever writes leaves a fraction
    return FileState(size=status.st_size, modified=modified, sha256=_sha256(path))


def _is_unchanged(path: Path, state: FileState) -> bool:
    """Tell whether a file is the one of the record; it is hashed only where its time says that it was written since."""
    try:
        status = path.stat()
        if status.st_size != state.size:
            return False
        return status.st_mtime_ns == state.modified * 10**9 or _sha256(path) == state.sha256
    except OSError:
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
