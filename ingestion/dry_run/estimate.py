"""Estimates chunks, tokens, time and embedding cost of a run from a small sample.

Documents are grouped by kind and size, and scaled by bytes. The range is two standard errors of the rate per byte
within a kind, and at least ten per cent unless every document was sampled.
"""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedding.tokenizer import load_tokenizer
from ingestion.dry_run.sampling import Sample, Stratum
from ingestion.pipeline.attachments import read_attachments
from ingestion.readers.process_pool import Parser
from ingestion.types import Parsed
from storage.errors import OriginalNotFound

if TYPE_CHECKING:
    from config.settings import Price
    from ingestion.dry_run.sampling import Candidate
    from ingestion.pipeline.factory import Indexing
    from ingestion.pipeline.pipeline import Embeds
    from storage.generation import Chunking, EmbeddingIdentity

MAX_SECONDS = 30.0  # for reading the sample, and the same again for embedding
MAX_CHUNKS = 96
LEAST_SPREAD = 0.1
SLACK = 1.5  # factor for a machine that is busy
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Range:
    """An estimate with a lower and an upper bound."""

    low: float
    likely: float
    high: float

    def as_json(self, digits: int = 0) -> dict[str, float]:
        """Return it for machines."""
        return {name: round(getattr(self, name), digits or None) for name in ("low", "likely", "high")}


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimate for a run.

    Attributes:
        documents: number sampled.
        unreadable: of these, how many will be skipped.
        chunks: to be written.
        tokens: to be embedded; the low end leaves out changed documents, whose vectors may be reused.
        seconds: wall clock, including loading the model, without building the vector index.
        cost_usd: None if the settings have no price for the model, as for a local one.
        unpriced: the remote model that has no price.

    """

    documents: int
    unreadable: int
    chunks: Range
    tokens: Range
    seconds: Range
    cost_usd: Range | None
    unpriced: str = ""

    def as_json(self) -> dict[str, object]:
        """Return it for machines."""
        return {
            "sampled": {"documents": self.documents, "unreadable": self.unreadable},
            "chunks": self.chunks.as_json(),
            "tokens": self.tokens.as_json(),
            "seconds": self.seconds.as_json(1),
            "cost_usd": self.cost_usd.as_json(6) if self.cost_usd else None,
        }

    def as_text(self) -> str:
        """Return it for people."""
        lines = [
            f"estimate, from {self.documents}: {_count(self.chunks)} chunks, {_count(self.tokens)} tokens to embed",
            f"time here: {_time(self.seconds.likely)} ({_time(self.seconds.low)} to {_time(self.seconds.high)})",
        ]
        if self.cost_usd:
            cost = self.cost_usd
            lines.append(f"embedding: about {cost.likely:.4f} US dollars ({cost.low:.4f} to {cost.high:.4f})")
        else:
            where = f"FOOTNOTE_LLM__PRICES has none for {self.unpriced}" if self.unpriced else "the model runs here"
            lines.append(f"embedding: no price ({where})")
        if self.unreadable:
            lines.append(f"{self.unreadable} of the {self.documents} documents could not be read and will be skipped")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A sampled document."""

    stratum: Stratum
    size: int
    chunks: int
    tokens: int
    seconds: float


class Estimator:
    """Reads and embeds a sample with a generation's model and chunking."""

    def __init__(self, indexing: Indexing, *, embedding: EmbeddingIdentity, chunking: Chunking) -> None:
        self._indexing = indexing
        self._embedding = embedding
        self._chunking = chunking
        self._texts: list[list[str]] = []  # a few texts of each sampled document, to embed

    async def estimate(self, sample: Sample) -> Estimate | None:
        """Return the estimate for all documents of the sample; None if it is empty.

        Raises:
            FootnoteError: the model, or the database, cannot be used.

        """
        if not sample.strata:
            return None
        seen, unreadable = await self._read(sample)
        loading, pace = await self._embed() if any(stratum.embedded_bytes for stratum in sample.strata) else (0.0, 0.0)
        everything = [stratum.bytes for stratum in sample.strata]
        chunks = _scaled(sample, seen, lambda each: each.chunks, everything)
        tokens = _tokens(sample, seen)
        reading = _scaled(sample, seen, lambda each: each.seconds, everything)
        workers = self._indexing.settings.ingestion.parse_workers
        seconds = _seconds(reading, tokens, workers=workers, loading=loading, pace=pace)
        cost = self._cost(tokens)
        is_remote = self._indexing.embedders.is_remote(self._embedding)
        unpriced = self._embedding.model if is_remote and cost is None else ""
        return Estimate(len(seen), unreadable, chunks, tokens, seconds, cost, unpriced)

    async def _read(self, sample: Sample) -> tuple[list[_Seen], int]:
        files = await self._indexing.embedders.files_of(self._embedding)
        seen: list[_Seen] = []
        unreadable = 0
        async with Parser(
            tokenizer_file=files.tokenizer_file,
            max_tokens=self._chunking.tokens,
            overlap=self._chunking.overlap,
            settings=self._indexing.settings.ingestion,
            language=self._chunking.language,
        ) as parser:
            begun, warm = time.monotonic(), set[str]()
            for stratum, candidate in sample.chosen():
                if time.monotonic() - begun > MAX_SECONDS and seen:
                    break
                if candidate.kind not in warm:  # read once untimed: the first of a kind imports its reader
                    warm.add(candidate.kind)
                    await _parsed(parser, candidate)
                parsed, seconds = await _parsed(parser, candidate)
                texts = await asyncio.to_thread(_texts, parsed)
                tokens = await asyncio.to_thread(_count_tokens, str(files.tokenizer_file), texts)
                self._texts.append(texts[:: max(1, len(texts) // MAX_CHUNKS)][:MAX_CHUNKS])
                seen.append(_Seen(stratum, candidate.size, len(texts), tokens, seconds))
                unreadable += not parsed
        return seen, unreadable

    async def _embed(self) -> tuple[float, float]:
        """Return the seconds to load the model, and the seconds per token."""
        texts = _round_robin(self._texts, most=MAX_CHUNKS)
        if not texts:
            return 0.0, 0.0
        began = time.monotonic()
        embedder: Embeds = await self._indexing.embedders.of(self._embedding)
        loading = time.monotonic() - began
        await embedder.texts(texts[:1])
        tokenizer = str((await self._indexing.embedders.files_of(self._embedding)).tokenizer_file)
        began, tokens = time.monotonic(), 0
        for begin in range(0, len(texts), MAX_CHUNKS // 3):
            part = texts[begin : begin + MAX_CHUNKS // 3]
            tokens += await asyncio.to_thread(_count_tokens, tokenizer, part)
            await embedder.texts(part)
            if time.monotonic() - began > MAX_SECONDS:
                break
        return loading, (time.monotonic() - began) / max(1, tokens)

    def _cost(self, tokens: Range) -> Range | None:
        prices: Mapping[str, Price] = self._indexing.settings.llm.prices
        price = prices.get(self._embedding.model)
        if price is None:
            return None
        return Range(*(price.input * count / MILLION for count in (tokens.low, tokens.likely, tokens.high)))


def _scaled(sample: Sample, seen: Sequence[_Seen], value: Callable[[_Seen], float], sizes: Sequence[int]) -> Range:
    """Scale a value of the sampled documents to all; `sizes` are the bytes of each stratum."""
    of_stratum, of_kind = defaultdict[int, list[_Seen]](list), defaultdict[str, list[_Seen]](list)
    for each in seen:
        of_stratum[id(each.stratum)].append(each)
        of_kind[each.stratum.kind].append(each)
    likely = sum(
        size * _rate(of_stratum.get(id(stratum)) or of_kind.get(stratum.kind) or seen, value)
        for stratum, size in zip(sample.strata, sizes, strict=True)
    )
    if len(seen) == sum(stratum.documents for stratum in sample.strata):
        return Range(likely, likely, likely)
    spread = max(LEAST_SPREAD, 2 * _relative_error(of_kind, value))
    return Range(likely / (1 + spread), likely, likely * (1 + spread))


def _rate(seen: Sequence[_Seen], value: Callable[[_Seen], float]) -> float:
    return sum(value(each) for each in seen) / max(1, sum(each.size for each in seen))


def _relative_error(of_kind: Mapping[str, Sequence[_Seen]], value: Callable[[_Seen], float]) -> float:
    """Return the relative standard error of the rate per byte within a kind."""
    off = []
    for seen in of_kind.values():
        rate = _rate(seen, value)
        off += [value(each) / (rate * each.size) - 1 for each in seen if rate and each.size]
    if len(off) < 2:  # noqa: PLR2004 (one says nothing of the others)
        return 1.0
    return math.sqrt(statistics.fmean(each**2 for each in off) / len(off))


def _tokens(sample: Sample, seen: Sequence[_Seen]) -> Range:
    most = _scaled(sample, seen, lambda each: each.tokens, [each.embedded_bytes for each in sample.strata])
    least = _scaled(
        sample, seen, lambda each: each.tokens, [each.embedded_bytes - each.changed_bytes for each in sample.strata]
    )
    return Range(least.low, most.likely, most.high)


def _seconds(reading: Range, tokens: Range, *, workers: int, loading: float, pace: float) -> Range:
    """Reading and embedding run in parallel: at best the slower one counts, at worst they share one core."""
    read = [value / workers for value in (reading.low, reading.likely, reading.high)]
    embed = [value * pace for value in (tokens.low, tokens.likely, tokens.high)]
    return Range(
        loading + max(read[0], embed[0]) / SLACK,
        loading + max(read[1], embed[1]) + min(read[1], embed[1]) / 2,
        loading + (read[2] + embed[2]) * SLACK,
    )


async def _parsed(parser: Parser, candidate: Candidate) -> tuple[list[Parsed], float]:
    """Return a document with its attachments, none if it cannot be read, and the seconds that reading took."""
    try:
        async with candidate.opened() as path:
            began = time.monotonic()
            parsed = await parser.parse(path)
            if not isinstance(parsed, Parsed):
                return [], time.monotonic() - began
            attached = await read_attachments(parser, parsed, seconds=MAX_SECONDS)
    except OriginalNotFound:
        return [], 0.0
    return [parsed, *(each.parsed for each in attached.read)], time.monotonic() - began


def _texts(parsed: Sequence[Parsed]) -> list[str]:
    from ingestion.chunking.splitter import embed_text

    return [embed_text(each.title, chunk) for each in parsed for chunk in each.chunks]


def _count_tokens(tokenizer_file: str, texts: Sequence[str]) -> int:
    tokenizer = load_tokenizer(tokenizer_file)
    return sum(len(encoding.ids) for encoding in tokenizer.encode_batch(list(texts)))


def _round_robin(texts: Sequence[Sequence[str]], *, most: int) -> list[str]:
    """Take one text of each document in turn, up to `most`."""
    longest = max(map(len, texts), default=0)
    return [each[turn] for turn in range(longest) for each in texts if turn < len(each)][:most]


def _count(number: Range) -> str:
    if round(number.low) == round(number.high):
        return f"{number.likely:,.0f}"
    return f"{_rounded(number.likely):,} ({_rounded(number.low):,} to {_rounded(number.high):,})"


def _rounded(number: float) -> int:
    """Round to two significant digits."""
    return int(round(number, -max(0, math.floor(math.log10(number)) - 1))) if number >= 1 else round(number)


def _time(seconds: float) -> str:
    if seconds < 100:  # noqa: PLR2004 (then minutes are easier to read)
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60:.1f} h"  # noqa: PLR2004 (likewise)
