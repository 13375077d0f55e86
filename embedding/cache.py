"""The embedding models in use: a generation is read and written with the one that it was built with."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedding.files import BUNDLED, accepted, find_model
from embedding.named import model_named, named_models
from embedding.remote.embedder import GenerationEmbedder, RemoteEmbedder
from embedding.remote.model import RemoteModel, kind_of, name_of
from embedding.remote.probes import kept_probes
from storage.errors import EmbeddingMismatch

if TYPE_CHECKING:
    from config.settings import EmbeddingSettings, Settings
    from embedding.embedder import Embedder, EmbeddingModel
    from embedding.files import ModelFiles
    from storage.generation import EmbeddingIdentity, Generation


@dataclass(frozen=True, slots=True)
class Described:
    """A model that the settings name: what a new collection remembers of it, and how long its texts may be."""

    identity: EmbeddingIdentity
    max_tokens: int


class Embedders:
    """Opens each model once, when a generation first needs it; the configured one may be open already."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open: dict[str, Embedder] = {}
        self._remote: list[tuple[EmbeddingSettings, RemoteEmbedder]] = []
        self._lent: set[str] = set()
        self._lent_remote: RemoteEmbedder | None = None
        self._named: set[str] = set()
        self._opening: list[tuple[EmbeddingSettings, asyncio.Lock]] = []

    def lend(self, embedder: Embedder) -> None:
        """Use a model that is open; whoever opened it closes it."""
        if isinstance(embedder, RemoteEmbedder):
            self._remote.append((self._settings.embedding, embedder))
            self._lent_remote = embedder
        else:
            self._open[embedder.identity.fingerprint] = embedder
            self._lent.add(embedder.identity.fingerprint)

    def get(self, identity: EmbeddingIdentity) -> Embedder | None:
        """Return a model if it is open."""
        return self._open.get(identity.fingerprint)

    def opened(self) -> tuple[Embedder, ...]:
        """Return the models that are open."""
        used = {each.model for each in self._open.values() if isinstance(each, GenerationEmbedder)}
        return (*self._open.values(), *(each for _, each in self._remote if each not in used))

    async def of(self, identity: EmbeddingIdentity) -> Embedder:
        """Return the model that a generation was built with; opening it takes seconds.

        Raises:
            EmbeddingMismatch: it is not to be had here any more, or another one answers in its name.
            EmbeddingModelNotFound: its files are gone, or no backend runs it, or its provider cannot be asked.
            EmbeddingUnavailable: its provider cannot be asked.

        """
        if (embedder := self.get(identity)) is None:
            wanted = await self._wanted(identity)
            async with self._opening_of(wanted):
                if (embedder := self.get(identity)) is None:
                    embedder = self._open[identity.fingerprint] = await self._opened(wanted, identity)
        if isinstance(embedder, GenerationEmbedder):
            await embedder.model.require(identity)
        return embedder

    async def named(self, name: str) -> Embedder:
        """Return a model that the settings name, as it is now; it stays open, whether a generation uses it or not.

        Raises:
            InvalidCollection: the settings name no such model.
            EmbeddingModelNotFound: it cannot be used.

        """
        settings = model_named(name, self._settings)
        if settings.is_remote:
            async with self._opening_of(settings):
                return await self._opened_remote(settings)
        identity = (await self.described(name)).identity
        self._named.add(identity.fingerprint)
        return await self.of(identity)

    async def files_of(self, identity: EmbeddingIdentity) -> EmbeddingModel:
        """Return what is known of the model that a generation was built with.

        Raises:
            EmbeddingMismatch: it is another one by now.
            EmbeddingModelNotFound: there is none.

        """
        if (known := self.get(identity)) is not None:
            return known.files
        wanted = await self._wanted(identity)
        if wanted.is_remote:
            return (await self.of(identity)).files
        return await asyncio.to_thread(find_model, wanted)

    async def found(self, identity: EmbeddingIdentity) -> tuple[EmbeddingSettings, ModelFiles]:
        """Return the settings that open the local model which a generation was built with, and its files.

        Raises:
            EmbeddingMismatch: they are not those any more.
            EmbeddingModelNotFound: there are none.

        """
        wanted = await self._wanted(identity)
        return wanted, await asyncio.to_thread(find_model, wanted)

    async def described(self, name: str | None = None, *, like: EmbeddingIdentity | None = None) -> Described:
        """Return what a new generation with a named model would remember; a remote one is opened and asked.

        A generation that was built with the same model is `like` it, and keeps its identity, as its vectors are good.

        Raises:
            InvalidCollection: the settings name no such model.
            EmbeddingModelNotFound: it cannot be used.
            EmbeddingUnavailable: its provider cannot be asked.

        """
        settings = model_named(name, self._settings)
        if not settings.is_remote:
            files = await asyncio.to_thread(find_model, settings)
            return Described(files.identity(settings), files.max_tokens)
        async with self._opening_of(settings):
            model = await self._opened_remote(settings)
        if like is not None and _is_remote(like) and _remote_fingerprint(settings, like) == like.fingerprint:
            with suppress(EmbeddingMismatch):
                await model.require(like)
                if like.dimension == model.files.dimension:
                    return Described(like, model.files.max_tokens)
        await model.prove()
        return Described(model.identity, model.files.max_tokens)

    async def require_writable(self, generation: Generation, *, name: str | None = None) -> None:
        """Raise `EmbeddingMismatch` unless a collection was built with a model of the settings; with `name`: that one.

        Raises:
            InvalidCollection: the settings name no such model.
            EmbeddingModelNotFound: a model cannot be found.

        """
        model_named(name, self._settings)
        asked = [name] if name else list(named_models(self._settings))
        if not await asyncio.to_thread(self._writable, generation.embedding, asked):
            generation.require_embedding((), model=" and ".join(self._shown(each) for each in asked))

    async def name_of(self, identity: EmbeddingIdentity) -> str | None:
        """Return what the settings call the model that a generation was built with; None if they do not name it."""
        for name in named_models(self._settings):
            if await asyncio.to_thread(self._writable, identity, [name]):
                return name
        return None

    def is_remote(self, identity: EmbeddingIdentity) -> bool:
        """Tell whether a generation was built with a model that another program runs."""
        return _is_remote(identity)

    def give_up_others(self, fingerprints: set[str]) -> list[Embedder]:
        """Forget the models of other fingerprints, but those lent or asked for by name; the caller closes them."""
        return self._forgotten(set(self._open) - fingerprints - self._named)

    def close(self) -> None:
        """Close all of them."""
        for embedder in self._forgotten(set(self._open)):
            embedder.close()
        for _, model in self._remote:
            if model is not self._lent_remote:
                model.close()
        self._remote.clear()

    def _forgotten(self, fingerprints: set[str]) -> list[Embedder]:
        return [self._open.pop(each) for each in fingerprints - self._lent]

    def _opening_of(self, settings: EmbeddingSettings) -> asyncio.Lock:
        """Return the lock of those who open a model: one whose provider is silent holds up no other."""
        for known, lock in self._opening:
            if known == settings:
                return lock
        self._opening.append((settings, lock := asyncio.Lock()))
        return lock

    async def _opened(self, wanted: EmbeddingSettings, identity: EmbeddingIdentity) -> Embedder:
        if wanted.is_remote:
            model = await self._opened_remote(wanted, dimension=identity.dimension)
            if model.files.dimension != identity.dimension:
                raise _gone(identity)
            return GenerationEmbedder(model, identity=identity)
        from embedding.opening import open_embedder

        return await asyncio.to_thread(open_embedder, self._settings.model_copy(update={"embedding": wanted}))

    async def _opened_remote(self, settings: EmbeddingSettings, *, dimension: int | None = None) -> RemoteEmbedder:
        """Return a remote model, which all generations share; the lock is held."""
        from embedding.remote.opening import open_remote

        for known, model in self._remote:
            if known == settings:
                return model
        model = await asyncio.to_thread(open_remote, settings, dimension=dimension)
        self._remote.append((settings, model))
        return model

    async def _wanted(self, identity: EmbeddingIdentity) -> EmbeddingSettings:
        return await asyncio.to_thread(self._find, identity)

    def _find(self, identity: EmbeddingIdentity) -> EmbeddingSettings:
        if _is_remote(identity):
            candidates = [each for each in named_models(self._settings).values() if each.is_remote]
        else:
            candidates = self._local_candidates(identity)
        for candidate in candidates:
            if _fingerprint(candidate, identity) == identity.fingerprint:
                return candidate
        raise _gone(identity)

    def _local_candidates(self, identity: EmbeddingIdentity) -> list[EmbeddingSettings]:
        local = [each for each in named_models(self._settings).values() if not each.is_remote]
        found = [each for each in local if each.model == identity.model]
        if identity.options is not None:
            found.append(_as_built(self._settings.embedding, identity))
        return found or local

    def _writable(self, identity: EmbeddingIdentity, names: list[str]) -> bool:
        for name in names:
            settings = model_named(name, self._settings)
            if settings.is_remote != _is_remote(identity):
                continue
            if settings.is_remote and _remote_fingerprint(settings, identity) == identity.fingerprint:
                return True
            if not settings.is_remote and identity.fingerprint in accepted(find_model(settings), settings):
                return True
        return False

    def _shown(self, name: str) -> str:
        settings = model_named(name, self._settings)
        if not settings.is_remote:
            return settings.model
        return f"{name_of(settings)} ({kind_of(settings)})"


def _gone(identity: EmbeddingIdentity) -> EmbeddingMismatch:
    if _is_remote(identity):
        what = (
            f"({identity.revision}, {identity.dimension} dimensions) that a generation was built with is not among the"
        )
        return EmbeddingMismatch(
            f"the model {identity.model} {what} models of the settings; put it back, or build a new generation with "
            "--reindex"
        )
    return EmbeddingMismatch(
        f"the model {identity.model} (revision {identity.revision}) that a generation was built with is not what "
        "is here under that name; put it back, or build a new generation with --reindex"
    )


def _is_remote(identity: EmbeddingIdentity) -> bool:
    return "remote" in (identity.options or {})


def _fingerprint(settings: EmbeddingSettings, identity: EmbeddingIdentity) -> str:
    if settings.is_remote:
        return _remote_fingerprint(settings, identity)
    return find_model(settings).identity(settings).fingerprint


def _remote_fingerprint(settings: EmbeddingSettings, identity: EmbeddingIdentity) -> str:
    """Return the fingerprint of a remote model if its dimension is the generation's; nobody is asked."""
    model = RemoteModel(name_of(settings), kind_of(settings), settings.dimensions or identity.dimension)
    return model.identity_with(kept_probes(identity), settings).fingerprint


def _as_built(configured: EmbeddingSettings, identity: EmbeddingIdentity) -> EmbeddingSettings:
    from pathlib import Path

    is_local = identity.model == BUNDLED or Path(identity.model).is_dir()
    here: dict[str, object] = {"provider": "local", "class_": None, "arguments": {}}
    return configured.model_copy(
        update={
            **(here if configured.is_remote else {}),
            "model": identity.model,
            "revision": None if is_local else identity.revision,
            "normalize": identity.normalized,
            **dict(identity.options or {}),
        }
    )
