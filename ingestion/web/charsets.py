"""Converting text from the charset in its HTTP header, which the file itself does not name."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

_BLOCK = 1 << 20
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

# as the WHATWG Encoding Standard reads the names: what pages call Latin-1 is Windows-1252
_CODECS: Mapping[str, str] = MappingProxyType({
    **{f"iso-8859-{n}": f"iso8859-{n}" for n in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)},
    **{f"windows-125{n}": f"cp125{n}" for n in range(9)},
    "iso-8859-1": "cp1252", "latin1": "cp1252", "iso-8859-9": "cp1254", "iso-8859-11": "cp874", "tis-620": "cp874",
    "koi8-r": "koi8-r", "koi8-u": "koi8-u", "macintosh": "mac-roman", "ibm866": "cp866",
    "shift_jis": "cp932", "shift-jis": "cp932", "sjis": "cp932", "euc-jp": "euc-jp", "iso-2022-jp": "iso-2022-jp",
    "gb2312": "gb18030", "gbk": "gb18030", "gb18030": "gb18030", "big5": "big5hkscs", "euc-kr": "cp949",
    "utf-8": "utf-8", "utf8": "utf-8", "utf-16": "utf-16-le", "utf-16le": "utf-16-le", "utf-16be": "utf-16-be",
})  # fmt: skip


def to_utf8(path: Path, *, charset: str) -> int:
    """Rewrite a text file as UTF-8 with a byte order mark, which readers trust most; return its size in bytes.

    A file with a byte order mark, an unknown charset, or bytes that are invalid in it is left as it is: the readers
    guess well.

    Raises:
        OSError: the file cannot be written.

    """
    codec = _CODECS.get(charset)
    written = path.with_name(f".{path.name[:100]}.utf8")
    if codec is not None and not _is_marked(path):
        try:
            _transcode(path, written, codec)
            written.replace(path)
        except UnicodeError:
            written.unlink()
    return path.stat().st_size


def _is_marked(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(3).startswith(_MARKS)


def _transcode(source: Path, written: Path, codec: str) -> None:
    decoder = codecs.getincrementaldecoder(codec)("strict")
    with source.open("rb") as file, written.open("xb") as out:
        out.write(codecs.BOM_UTF8)
        while block := file.read(_BLOCK):
            out.write(decoder.decode(block).encode())
        out.write(decoder.decode(b"", final=True).encode())
