"""Writes compound files (MS-CFB, version 3): what Outlook's messages are kept in."""

from __future__ import annotations

import struct
from itertools import pairwise

SECTOR, MINI, CUTOFF = 512, 64, 4096
END, FREE, FAT_SECTOR = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD

Tree = dict[str, "bytes | Tree"]


class _Writer:
    def __init__(self) -> None:
        self.sectors: list[bytes] = []
        self.fat: list[int] = []
        self.mini = bytearray()
        self.mini_fat: list[int] = []
        self.entries: list[list[int | str | bytes]] = []

    def chain(self, data: bytes) -> int:
        """Append data in sectors; return the first."""
        first = len(self.sectors)
        count = -(-len(data) // SECTOR)
        for at in range(count):
            self.sectors.append(data[at * SECTOR : (at + 1) * SECTOR].ljust(SECTOR, b"\0"))
            self.fat.append(first + at + 1 if at + 1 < count else END)
        return first if count else END

    def stream(self, data: bytes) -> int:
        """Append a stream, to the small ones if it is small; return its first sector."""
        if len(data) >= CUTOFF:
            return self.chain(data)
        first = len(self.mini_fat)
        count = -(-len(data) // MINI)
        self.mini_fat += [first + at + 1 if at + 1 < count else END for at in range(count)]
        self.mini += data.ljust(count * MINI, b"\0")
        return first if count else END

    def folder(self, tree: Tree) -> int:
        """Append entries for a folder's children as a list in their order; return the first."""
        ids = []
        for name in sorted(tree, key=lambda name: (len(name), name.upper())):
            inner = tree[name]
            ids.append(len(self.entries))
            is_stream = isinstance(inner, bytes)
            self.entries.append([name, 2 if is_stream else 1, FREE, FREE, END, len(inner) if is_stream else 0])
            if isinstance(inner, bytes):
                self.entries[ids[-1]][4] = self.stream(inner)
            else:
                self.entries[ids[-1]][3] = self.folder(inner)
        for before, after in pairwise(ids):
            self.entries[before][2] = after
        return ids[0] if ids else FREE


def _entry(name: str, kind: int, right: int, child: int, start: int, size: int) -> bytes:  # noqa: PLR0917
    written = name.encode("utf-16-le") + b"\0\0"
    return struct.pack(
        "<64sHBBIII16sIQQIQ", written, len(written), kind, 1, FREE, right, child, b"", 0, 0, 0, start & 0xFFFFFFFF, size
    )


def compound(tree: Tree) -> bytes:
    """Return a compound file with the streams of a tree."""
    writer = _Writer()
    writer.entries.append(["Root Entry", 5, FREE, FREE, END, 0])
    writer.entries[0][3] = writer.folder(tree)
    writer.entries[0][4], writer.entries[0][5] = writer.chain(bytes(writer.mini)), len(writer.mini)
    mini_fat = b"".join(struct.pack("<I", entry) for entry in writer.mini_fat)
    mini_fat_start = writer.chain(mini_fat.ljust(-(-len(mini_fat) // SECTOR) * SECTOR, b"\xff"))
    directory = writer.chain(b"".join(_entry(*entry) for entry in writer.entries))  # type: ignore[arg-type]
    fats = 1
    while fats * SECTOR // 4 < len(writer.fat) + fats:
        fats += 1
    first_fat = len(writer.sectors)
    table = [*writer.fat, *[FAT_SECTOR] * fats]
    table += [FREE] * (fats * SECTOR // 4 - len(table))
    places = [first_fat + at if at < fats else FREE for at in range(109)]
    head = struct.pack(
        "<8s16sHHHHH6sIIIIIIIIII", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"", 0x3E, 3, 0xFFFE, 9, 6, b"", 0, fats,
        directory, 0, CUTOFF, mini_fat_start, -(-len(mini_fat) // SECTOR), END, 0, places[0],
    ) + struct.pack("<108I", *places[1:])  # fmt: skip
    return head + b"".join(writer.sectors) + struct.pack(f"<{len(table)}I", *table)
