"""Fixed texts by which a model is known again: how it embeds them now is compared with how it did.

A model with a smaller vocabulary under the same name embeds English as before, and other scripts not: hence several.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import numpy as np
import structlog

from embedding.errors import EmbeddingFailed
from storage.errors import EmbeddingMismatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from numpy.typing import NDArray

    from storage.generation import EmbeddingIdentity

    Probes = Mapping[str, NDArray[np.float32]]
    Kept = Mapping[str, str]

FIRST = "en"
"""The one of generations that keep no other; its text never changes."""
PROBES = {
    FIRST: "The quick brown fox jumps over the lazy dog; 17 Füchse und 3 hounds.",
    "de": "Über den Dächern rüttelt der Sturmwind an den Schindeln, während die Schlüssel rosten.",
    "fr": "L'écureuil s'enfuit derrière le vieux chêne dès que la forêt s'éveille.",
    "ru": "Съешь ещё этих мягких французских булок, да выпей чаю.",
    "el": "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία της νύχτας.",
    "ar": "نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر.",
    "hi": "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा का सर्वनाश हुआ।",
    "th": "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า กว่าบรรดาฝูงสัตว์เดรัจฉาน",
    "zh": "视野无限广窗外有蓝天。敏捷的棕色狐狸跳过了懒狗。",
    "ja": "いろはにほへと散りぬるを、我が世誰ぞ常ならむ。",
    "ko": "키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다.",
}
"""By language, each kept under its name with a generation: a text that is changed needs another name."""
OPTION = "probe."
"""What the names of a generation's options begin with that keep them; the first is kept as ``probe``."""
NUMBERS = 128  # of each vector, kept with a generation
LEAST_LIKENESS = 0.99
"""Cosine of two embeddings of a probe by one model: other hardware, batching and 8 bits gave 0.997 and more; another
model's is near 0, and one that had only the tokens of English and Portuguese left gave 0.84 to 0.986."""
_log = structlog.get_logger(__name__)


async def asked(embed: Callable[[list[str]], Awaitable[NDArray[np.float32]]], *, most: int, model: str) -> Probes:
    """Ask a model how it embeds the probes, `most` texts at once; one that it refuses is left out, but not the first.

    Raises:
        EmbeddingFailed: it refuses the first.
        Exception: whatever else `embed` raises.

    """
    names = list(PROBES)
    try:
        batches = [names[start : start + most] for start in range(0, len(names), most)]
        made = [await embed([PROBES[name] for name in batch]) for batch in batches]
        return dict(zip(names, np.concatenate(made), strict=True))
    except EmbeddingFailed:
        found: dict[str, NDArray[np.float32]] = {}
        for name in names:
            try:
                (found[name],) = await embed([PROBES[name]])
            except EmbeddingFailed as exc:
                if name == FIRST:
                    raise
                _log.warning("an embedding model refuses a fixed text", model=model, language=name, error=str(exc))
        return found


def written(probes: Probes) -> Kept:
    """Return probes as texts."""
    return {name: base64.b64encode(each[:NUMBERS].astype("<f2").tobytes()).decode() for name, each in probes.items()}


def kept_probes(identity: EmbeddingIdentity) -> Kept | None:
    """Return the probes that a generation keeps; older ones keep the first alone, some none."""
    options = identity.options or {}
    if (first := options.get("probe")) is None:
        return None
    further = {name.removeprefix(OPTION): each for name, each in options.items() if name.startswith(OPTION) and each}
    return {FIRST: first, **further}


def require_same(made: Probes, kept: Kept | None, *, model: str) -> None:
    """Compare how a model embeds the probes now with how it did, where that was kept.

    Raises:
        EmbeddingMismatch: it is another model.

    """
    changed = [name for name, before in (kept or {}).items() if not _is_same(made.get(name), before)]
    if changed:
        where = "" if FIRST in changed else f" of texts in some languages ({', '.join(changed)})"
        msg = (
            f"{model} gives other vectors{where} now than those that the collection was built with: another model "
            "answers under its name; put the old one back, or build a new generation with --reindex"
        )
        raise EmbeddingMismatch(msg)


def _is_same(now: NDArray[np.float32] | None, kept: str) -> bool:
    if now is None:
        return False
    before = np.frombuffer(base64.b64decode(kept), dtype="<f2").astype(np.float32)
    now = now[:NUMBERS].astype(np.float32)
    return len(before) == len(now) and likeness(before, now) >= LEAST_LIKENESS


def likeness(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the cosine of two vectors."""
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths else 0.0
