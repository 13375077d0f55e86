"""Files that a plug-in reads: a reader of LlamaIndex's, in the process that reads files."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from ingestion.plug_ins import listed, reader_of
from ingestion.readers.cleaning import clean, name_as_title, one_line
from ingestion.types import Extracted, Json, PlugInCode

if TYPE_CHECKING:
    from llama_index.core import Document

GAP = "\n\n"
LABEL = "page_label"  # where LlamaIndex's readers say which page a document is
UNKEPT = frozenset({LABEL, "file_name", "file_path"})  # those are of the copy that it reads
DEEPEST = 8


def read_plugged_in(name: PurePath, data: bytes, code: PlugInCode) -> Extracted:
    """Return what a plug-in's reader makes of a file; of several documents, each with a page label is a page.

    Raises:
        Unreadable: it fails, or returns something else; the message names it.

    """
    documents = _loaded(name, data, code)
    texts = [clean(each.get_content()) for each in documents]
    starts = [0]
    for text in texts:
        starts.append(starts[-1] + len(text) + len(GAP))
    labels = tuple(one_line(each.metadata.get(LABEL) or "", limit=40) for each in documents)
    shared = _shared([each.metadata for each in documents])
    title = one_line(shared.pop("title", "")) or name_as_title(name)
    has_pages = all(labels) and bool(labels)
    return Extracted(
        GAP.join(texts),
        title,
        metadata=shared,
        pages=tuple(starts[:-1]) if has_pages else (),
        labels=labels if has_pages else (),
    )


def _loaded(name: PurePath, data: bytes, code: PlugInCode) -> Sequence[Document]:
    from llama_index.core.schema import Document

    reader = reader_of(code)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"document{name.suffix}"
        path.write_bytes(data)
        return listed(lambda: reader.load_data(path), Document, code, named="a list of Document")


def _shared(metadata: Sequence[Mapping[str, Any]]) -> dict[str, Json]:
    """Return what the metadata of all documents have in common, as far as JSON can hold it."""
    first = dict(metadata[0]) if metadata else {}
    return {
        clean(str(key)): as_json(value)
        for key, value in first.items()
        if key not in UNKEPT and all(key in other and other[key] == value for other in metadata)
    }


def as_json(value: Any, *, depth: int = DEEPEST) -> Json:  # noqa: ANN401 (whatever a plug-in writes)
    """Return a value as JSON can hold it; what it cannot, as text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict) and depth:
        return {clean(str(key)): as_json(inner, depth=depth - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple) and depth:
        return [as_json(inner, depth=depth - 1) for inner in value]
    return clean(str(value))
