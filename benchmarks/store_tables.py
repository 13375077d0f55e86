"""The figures of the store's benchmark as tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.figures import table
from benchmarks.store_access import access_table
from benchmarks.store_secrets import secrets_table

SIDES = ("raw", "statement")


def tables(figures: Mapping[str, Any]) -> str:
    """Return what was measured, part by part."""
    return "\n\n".join([_load(figures), *(show(figures[part]) for part, show in PARTS.items() if part in figures)])


def _load(figures: Mapping[str, Any]) -> str:
    count, seconds = figures["chunks"], figures["load_seconds"]
    return (
        f"{count} chunks: loaded in {seconds:.0f} s ({count / seconds:.0f} a second), "
        f"vacuumed in {figures['vacuum_seconds']:.0f} s"
    )


def _sizes(sizes: Mapping[str, int]) -> str:
    return table(["", "GB"], [[part, size / 1e9] for part, size in sizes.items()])


def _indexes(indexes: Mapping[str, Any]) -> str:
    return table(
        ["HNSW index", "built in s", "GB", "ef_search", "p50 ms", "p95 ms", "recall@10"],
        [
            [name, index["seconds"], index["bytes"] / 1e9, length, one["p50"], one["p95"], one["recall"]]
            for name, index in indexes.items()
            for length, one in index["searches"].items()
        ],
    )


def _search(cases: Mapping[str, Any]) -> str:
    each = [(side, what) for side in ("raw", "footnote") for what in ("p50", "p95", "recall")]
    return table(
        ["", "raw SQL p50 ms", "p95", "recall@10", "Footnote p50 ms", "p95", "recall@10", "Footnote / raw, p50"],
        [
            [
                name,
                *(one.get(f"{side}_{what}", "") for side, what in each),
                one["footnote_p50"] / one["raw_p50"],
            ]
            for name, one in cases.items()
        ],
    )


def _server(cases: Mapping[str, Any]) -> str:
    each = [f"{side}_{what}" for side in SIDES for what in ("p50", "p95")]
    return table(
        ["through /retrieve", "p50 ms", "p95", *(name.replace("_", " ") for name in each),
         *(f"p95 / {side}'s" for side in SIDES)],
        [
            [
                name,
                one["server_p50"],
                one["server_p95"],
                *(one[name_of] for name_of in each),
                *(one["server_p95"] / one[f"{side}_p95"] for side in SIDES),
            ]
            for name, one in cases.items()
        ],
    )  # fmt: skip


def _embedding(took: Mapping[str, float]) -> str:
    return (
        "raw: SQL as one writes it by hand; statement: what the server sends, alone. To embed a question, which is "
        f"in none of them, takes {took['p50']:.1f} ms (p95 {took['p95']:.1f})."
    )


PARTS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "sizes": _sizes,
    "indexes": _indexes,
    "search": _search,
    "access": access_table,
    "secrets": secrets_table,
    "server": _server,
    "embedding": _embedding,
}
