"""Converting text from the charset in its HTTP header, which the file itself does not name."""

from __future__ import annotations

import codecs
from pathlib import Path

from ingestion.readers.encodings.decoding import codec_of

_BLOCK = 1 << 20
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def to_utf8(path: Path, *, charset: str) -> int:
    """Rewrite a text file as UTF-8 with a byte order mark, which readers trust most; return its size in bytes.

    A file with a byte order mark, an unknown charset, or bytes that are invalid in it is left as it is, and so is what
    is UTF-8 whatever the header says: the readers know (`ingestion.readers.encodings.decoding`).

    Raises:
        OSError: the file cannot be written.

    """
    codec = codec_of(charset)
    written = path.with_name(f".{path.name[:100]}.utf8")
    if codec is not None and not _is_marked(path) and (codec == "utf-8" or not _is_utf_8(path)):
        try:
            _transcode(path, written, codec)
            written.replace(path)
        except UnicodeError:
            written.unlink()
    return path.stat().st_size


def _is_marked(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(3).startswith(_MARKS)


def _is_utf_8(path: Path) -> bool:
    """Tell whether the file is UTF-8 with characters beyond ASCII."""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    ascii_only = True
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                ascii_only = decoder.decode(block).isascii() and ascii_only
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return not ascii_only


def _transcode(source: Path, written: Path, codec: str) -> None:
    decoder = codecs.getincrementaldecoder(codec)("strict")
    with source.open("rb") as file, written.open("xb") as out:
        out.write(codecs.BOM_UTF8)
        while block := file.read(_BLOCK):
            out.write(decoder.decode(block).encode())
        out.write(decoder.decode(b"", final=True).encode())
