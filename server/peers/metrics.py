"""The metrics of all workers of a server, whichever of them is scraped."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from server.peers.messages import PeerGone, asked

if TYPE_CHECKING:
    from config.telemetry.setup import Telemetry
    from server.peers.member import Member

METRICS = "metrics"
SECONDS = 5.0
_EOF = "# EOF"
_ABOUT = re.compile(r"# (?:HELP|TYPE|UNIT) (\S+)")
_SAMPLE = re.compile(r"([A-Za-z_:][\w:]*)(?:\{(\})?)?")


async def exposition(telemetry: Telemetry, member: Member | None, accept: str) -> tuple[bytes, str]:
    """Return the metrics of this worker and of the others, and their content type; see `Telemetry.exposition`.

    With several workers each sample has the name of its process as the label ``worker``. A worker that does not answer
    within `SECONDS` is left out.
    """
    own, content_type = await asyncio.to_thread(telemetry.exposition, accept)
    if member is None or member.of == 1 or not own:
        return own, content_type
    others = member.others()
    found = await asyncio.gather(*(_metrics_of(address, accept) for address in others))
    parts = [(member.name, own.decode()), *((path.stem, text) for path, text in zip(others, found, strict=True))]
    return merged([(name, text) for name, text in parts if text]).encode(), content_type


async def _metrics_of(address: Path, accept: str) -> str:
    try:
        async with asyncio.timeout(SECONDS), asked(address, METRICS, accept) as frames:
            return "".join([frame.data.decode() async for frame in frames])
    except (PeerGone, TimeoutError):
        return ""


def merged(parts: Sequence[tuple[str, str]]) -> str:
    """Return several expositions as one: each family once, its samples with the label ``worker``.

    Both of Prometheus' text formats are understood, https://prometheus.io/docs/instrumenting/exposition_formats/.
    """
    about: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for worker, text in parts:
        family, is_known = "", False
        for line in text.splitlines():
            if line == _EOF or not line:
                continue
            if found := _ABOUT.match(line):
                if found[1] != family:
                    family = found[1]
                    is_known = family in about
                if not is_known:
                    about.setdefault(family, []).append(line)
            else:
                samples.setdefault(family, []).append(_labelled(line, worker))
    lines = [line for family in {**about, **samples} for line in (*about.get(family, ()), *samples.get(family, ()))]
    end = [_EOF] if any(text.rstrip().endswith(_EOF) for _, text in parts) else []
    return "\n".join([*lines, *end, ""])


def _labelled(sample: str, worker: str) -> str:
    found = _SAMPLE.match(sample)
    if found is None:
        return sample
    name, rest = found[1], sample[found.end() :]
    has_labels = found[0] != name and not found[2]
    return f'{name}{{worker="{worker}"{"," if has_labels else "}"}{rest}'
