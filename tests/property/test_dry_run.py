"""Random histories of a folder: what a dry run says of it is what the run then does.

The short run is the same each time; `make soak` makes a long one.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.environment import make_settings
from support.indexings import open_made_up
from support.soak import SOAK, examples

from ingestion.dry_run.planner import open_plan
from ingestion.inputs.inputs import Inputs
from ingestion.runs.run import ingest, ingest_and_sync, reindex
from ingestion.runs.sync import WithSync
from storage.errors import CollectionNotFound

NAMES = ["a.md", "b.md", "c.md", "sub/d.md", "sub/e.md", ".hidden.md", "picture.psd", "named.md"]
TARGETS = ["nowhere", "itself", "outside", "a.md", "sub/d.md", ".hidden.md"]
TEXTS = ["One thing.", "Another thing.", "A third thing."]

name = st.sampled_from(NAMES)
steps = st.one_of(
    st.tuples(st.just("write"), name, st.sampled_from(TEXTS)),
    st.tuples(st.just("move"), name, name),
    st.tuples(st.just("delete"), name),
    st.tuples(st.just("link"), name, st.sampled_from(TARGETS)),
)
rounds = st.tuples(st.lists(steps, max_size=5), st.sampled_from(["ingest", "sync", "reindex", "reindex and sync"]))
FIRST = ([("write", each, text) for each, text in zip(NAMES, itertools.cycle(TEXTS), strict=False)], "ingest")


class Tree:
    """A folder, and a file outside of it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "tree"
        self.outside = folder / "outside.md"
        (self.root / "sub").mkdir(parents=True)
        self.outside.write_text(TEXTS[0])

    @property
    def paths(self) -> list[str]:
        """What a user names: a file that may be a link, and the folder."""
        return [str(self.root / "named.md"), str(self.root)]

    def do(self, kind: str, name: str, what: str = "") -> None:
        """Change it; a step that makes no sense does nothing."""
        path = self.root / name
        if kind == "write":
            path.unlink(missing_ok=True)
            path.write_text(what)
        elif kind == "link":
            path.unlink(missing_ok=True)
            path.symlink_to({"outside": self.outside, "itself": path}.get(what, self.root / what))
        elif os.path.lexists(path):
            path.unlink() if kind == "delete" else path.rename(self.root / what)


async def stored(indexing, collection):
    """Return the source and the bytes of each document that answers, by id."""
    try:
        generation = await indexing.collections.active(collection)
    except CollectionNotFound:
        return {}
    async with indexing.database.dedicated(as_owner=True) as connection:
        rows = await connection.fetch(
            "SELECT id, source, content_hash FROM footnote.documents WHERE generation_id = $1", generation.id
        )
    return {row["id"]: (row["source"], row["content_hash"]) for row in rows}


def differences(before, after):
    """Return what was done, as a plan's lines have it: action, source, hash of the bytes."""
    done = [("deleted", *document) for key, document in before.items() if key not in after]
    for key, document in after.items():
        old = before.get(key)
        if old is None:
            done.append(("added", *document))
        elif old != document:
            done.append(("moved" if old[0] != document[0] else "changed", *document))
    return done


def comparable(entries):
    """Return what must be the same of both; which of two files with the same bytes is the one moved, may not be."""
    new = [entry for entry in entries if entry[0] in {"added", "moved"}]
    return (
        sorted(entry for entry in entries if entry[0] in {"changed", "deleted"}),
        Counter((action, content_hash) for action, _, content_hash in new),
        {source for _, source, _ in new},
    )


async def planned(indexing, inputs, mode):
    planner = await open_plan(indexing, inputs, reindex="reindex" in mode, sync="sync" in mode)
    entries = [(entry.action, entry.source, entry.content_hash) async for entry in planner.entries()]
    return planner.plan, entries


async def run(indexing, inputs, mode):
    watch = {"watch": lambda _: None}
    if "reindex" in mode:
        build = {"resume": False, "activate": "always", "golden": None, "force": False, "sync": "sync" in mode}
        return await reindex(indexing, inputs, **build, **watch)
    if mode == "sync":
        return await ingest_and_sync(indexing, inputs, force=False, **watch)
    return await ingest(indexing, inputs, **watch)


async def check(indexing, tree, collection, mode):
    inputs = Inputs(collection, tree.paths, base=tree.root)
    before = await stored(indexing, collection)
    plan, entries = await planned(indexing, inputs, mode)
    outcome = await run(indexing, inputs, mode)
    report = getattr(outcome, "report", outcome)
    assert set(plan.skipped) == set(report.skipped)
    assert plan.documents["ignored"] == report.numbers["ignored"]
    refused = outcome.synced.refused if isinstance(outcome, WithSync) else None
    assert plan.sync_refused == refused
    expected = [entry for entry in entries if entry[0] not in {"carried", "reindexed"}]
    if refused:
        expected = [entry for entry in expected if entry[0] != "deleted"]
    assert comparable(expected) == comparable(differences(before, await stored(indexing, collection)))
    if "reindex" not in mode:
        assert plan.documents["unchanged"] == report.unchanged
    elif before:
        gone = plan.documents["deleted"]  # a build carries over what a sync deletes afterwards
        assert report.carried == plan.documents["carried"] + gone


def of_link(target, mode="sync"):
    """Return a history: a file becomes a link, and another one has its bytes."""
    return [FIRST, ([("link", "a.md", target), ("write", "new.md", TEXTS[0])], mode), ([], mode)]


@pytest.mark.hypothesis
@pytest.mark.timeout(36_000 if SOAK else 600)
def test_a_run_does_what_a_dry_run_said_of_any_folder(dsn, shared_dir, tmp_path):
    folders = (tmp_path / str(number) for number in itertools.count())
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        indexing = runner.run(stack.enter_async_context(open_made_up(make_settings(dsn, shared_dir))))

        @settings(
            max_examples=examples(8, 1000),
            derandomize=not SOAK,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(rounds, max_size=4))
        @example(of_link("nowhere"))
        @example(of_link("nowhere", "reindex and sync"))
        @example(of_link("itself"))
        @example(of_link("outside"))
        @example([FIRST, ([("link", "named.md", "nowhere"), ("move", "b.md", "c.md")], "ingest")])
        @example([([("write", each, TEXTS[0]) for each in NAMES], "ingest"),
                  ([("move", each, f"sub/moved-{Path(each).name}") for each in NAMES], "sync")])  # fmt: skip
        def histories(history):
            folder = next(folders)
            tree = Tree(folder)
            for changes, mode in history:
                for step in changes:
                    tree.do(*step)
                runner.run(check(indexing, tree, f"c{folder.name}", mode))
            shutil.rmtree(folder)

        try:
            histories()
        finally:
            runner.run(stack.aclose())
