"""Reading and embedding on a real Ray cluster of two nodes, whose processes are killed."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest
import pytest_asyncio
from support import files as made_files
from support.ray_cluster import RayNodes, made_up, ray_environment, start_ray

from config.settings import EmbeddingSettings, IngestionSettings, Settings
from embedding.errors import EmbeddingFailed
from embedding.files import find_model
from ingestion.errors import ClusterUnavailable
from ingestion.ray import connection
from ingestion.ray.connection import open_ray
from ingestion.ray.layout import EMBEDDING_SHARE, PARSING_SHARE, Layout, Node, lay_out
from ingestion.ray.messages import Patience
from ingestion.readers.process_pool import Parser
from ingestion.types import Parsed, Skipped

pytestmark = [
    pytest.mark.xdist_group("ray"),
    # found, not imported: Ray reads its environment when it is loaded
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: the extra `ray`"),
]
FILES = find_model(EmbeddingSettings())
PATIENCE = Patience(connect=60, start=60, lost=20, call=60)
LIGHT = "support.ray_cluster:open_slow"
SIZES = {"tokenizer_file": FILES.tokenizer_file, "max_tokens": 64, "overlap": 8}


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayNodes]:
    with ray_environment(), start_ray(2, 2) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def own_settings(shared_dir: Path) -> Settings:
    return Settings(
        data_dir=shared_dir,
        database={"url": "postgresql://u:hidden@db/x"},
        llm={"api_key": "hidden"},
        ingestion=IngestionSettings(parse_timeout=5),
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(cluster: RayNodes, own_settings: Settings) -> AsyncIterator[object]:
    async with open_ray(cluster.address, settings=own_settings, patience=PATIENCE) as connected:
        yield connected


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def reader(opened) -> object:
    return await opened.parser(**SIZES)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model(opened, own_settings) -> object:
    return await opened.embedder(own_settings.embedding, files=FILES, opener=LIGHT)


def written(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{n}.md" for n in range(count)]
    for n, path in enumerate(paths):
        path.write_text(f"# Number {n}\n\n" + "\n\n".join(f"Sentence {m} of {n}. " * 12 for m in range(5)))
    return paths


@pytest.mark.soak
@pytest.mark.asyncio(loop_scope="module")
async def test_several_chunkings_find_room_and_nothing_is_left_behind(cluster, own_settings, tmp_path) -> None:
    """The first: later the cluster is full."""
    (path,) = written(tmp_path, 1)
    async with open_ray(cluster.address, settings=own_settings, patience=PATIENCE) as opened:
        second = await opened.parser(**SIZES | {"max_tokens": 32})
        third = await opened.parser(**SIZES | {"max_tokens": 16})
        assert len((await second.parse(path)).chunks) < len((await third.parse(path)).chunks)
        actors = cluster.actors("ParsingActor")
        children = cluster.reading()
        assert children
        assert list(cluster.folder.glob("footnote-ray-*"))
    assert not psutil.wait_procs([*actors, *children], timeout=20)[1]
    assert not list(cluster.folder.glob("footnote-ray-*"))
    with pytest.raises(ClusterUnavailable):
        await second.parse(path)


@pytest.mark.asyncio(loop_scope="module")
async def test_passages_are_those_of_one_machine(reader, own_settings, tmp_path) -> None:
    paths = [*written(tmp_path, 8), tmp_path / "b.pdf", tmp_path / "\udcff.txt"]
    paths[-2].write_bytes(made_files.pdf("A page of a PDF."))
    paths[-1].write_text("A name that is not Unicode.")
    remote = await asyncio.gather(*(reader.parse(path) for path in paths))
    async with Parser(**SIZES, settings=own_settings.ingestion) as local:
        assert remote == [await local.parse(path) for path in paths]
    assert sum(len(parsed.chunks) for parsed in remote if isinstance(parsed, Parsed)) > 40


@pytest.mark.soak
@pytest.mark.asyncio(loop_scope="module")
async def test_vectors_are_those_of_one_machine(opened, embedder, own_settings) -> None:
    texts = [f"Sentence {m} of {n}. " * 12 for n in range(8) for m in range(6)]
    model = await opened.embedder(own_settings.embedding, files=FILES)
    vectors = await model.texts(texts)
    assert (vectors.dtype, vectors.shape) == (np.float32, (len(texts), 384))
    np.testing.assert_allclose(vectors, await embedder.texts(texts), atol=1e-5)
    assert (await model.texts([])).shape == (0, 384)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_work_is_spread_over_the_nodes(reader, model, cluster, tmp_path) -> None:
    assert (reader.width, model.width) == (4, 2)
    async with asyncio.timeout(60):
        while len(cluster.actors("ParsingActor")) + len(cluster.actors("EmbeddingActor")) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    for name in ("ParsingActor", "EmbeddingActor"):
        assert len({actor.parent().pid for actor in cluster.actors(name)}) == 2
    await asyncio.gather(*map(reader.parse, written(tmp_path, 12)))
    assert all(actor.children() for actor in cluster.actors("ParsingActor"))


@pytest.mark.asyncio(loop_scope="module")
async def test_killed_workers_cost_nothing_but_time(reader, model, cluster, tmp_path) -> None:
    paths = written(tmp_path, 60)
    texts = [f"text {n}" for n in range(640)]
    await asyncio.gather(model.texts(texts[:64]), *map(reader.parse, paths[:4]))
    working = asyncio.gather(model.texts(texts), *map(reader.parse, paths))
    killed = []
    for name in ("EmbeddingActor", "ParsingActor", "EmbeddingActor"):
        await asyncio.sleep(0.3)
        killed.append(cluster.actors(name)[0])
        killed[-1].kill()
    assert not working.done()
    vectors, *parsed = await working
    np.testing.assert_array_equal(vectors, made_up(texts))
    assert [each.title for each in parsed if isinstance(each, Parsed)] == [f"Number {n}" for n in range(60)]
    assert len({process.pid for process in killed}) == len(killed)


@pytest.mark.soak
@pytest.mark.asyncio(loop_scope="module")
async def test_every_worker_may_be_killed_at_once(model, cluster) -> None:
    texts = [f"text {n}" for n in range(320)]
    await model.texts(texts[:64])
    working = asyncio.create_task(model.texts(texts))
    await asyncio.sleep(0.3)
    for actor in cluster.actors("EmbeddingActor"):
        actor.kill()
    np.testing.assert_array_equal(await working, made_up(texts))


@pytest.mark.soak
@pytest.mark.asyncio(loop_scope="module")
async def test_a_file_that_hangs_or_crashes_its_reader_costs_itself_only(reader, cluster, tmp_path) -> None:
    slow, good = tmp_path / "slow.txt", written(tmp_path, 12)
    slow.write_text("今" * 15_000_000)
    await asyncio.gather(*map(reader.parse, good[:4]))
    crashing = asyncio.create_task(reader.parse(slow))
    while not crashing.done():
        await asyncio.sleep(0.3)
        for process in cluster.reading():
            process.kill()
    assert crashing.result() == Skipped(slow, "the reader crashed on it")
    read = await asyncio.gather(*map(reader.parse, good))
    assert all(isinstance(each, Parsed) for each in read)
    hanging, *read = await asyncio.gather(reader.parse(slow), *map(reader.parse, good))
    assert hanging == Skipped(slow, "reading it took longer than 5 seconds")
    assert all(isinstance(each, Parsed) for each in read)


@pytest.mark.asyncio(loop_scope="module")
async def test_files_that_cannot_be_had_are_skipped_before_they_travel(reader, own_settings, tmp_path) -> None:
    large = tmp_path / "large.txt"
    with large.open("wb") as file:
        file.truncate(own_settings.ingestion.max_file_bytes + 1)
    assert (await reader.parse(large)).reason.startswith("larger than")
    assert await reader.parse(tmp_path / "gone.txt") == Skipped(tmp_path / "gone.txt", "it is no longer there")
    (tmp_path / "empty.txt").touch()
    assert (await reader.parse(tmp_path / "empty.txt")).reason == "the file is empty"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_text_that_the_model_cannot_take_is_told(model) -> None:
    with pytest.raises(EmbeddingFailed, match="the model does not take it"):
        await model.texts(["good"] * 100 + ["poison"])


@pytest.mark.asyncio(loop_scope="module")
async def test_nodes_are_given_no_secret(model, own_settings) -> None:
    assert own_settings.database.url is not None
    np.testing.assert_array_equal(await model.texts(["secrets", ""]), made_up(["None", "None"]))


@pytest.mark.soak
@pytest.mark.asyncio(loop_scope="module")
async def test_a_node_with_another_model_is_not_used(opened, own_settings) -> None:
    model = await opened.embedder(own_settings.embedding, files=FILES, opener="support.ray_cluster:open_other")
    with pytest.raises(ClusterUnavailable, match="is another model here than where the command runs"):
        await model.texts(["a"])


@pytest.mark.asyncio(loop_scope="module")
async def test_an_address_that_leads_nowhere_is_told_at_once(own_settings) -> None:
    for address, told in {
        "127.0.0.1:1": "nothing listens at",
        "ray://127.0.0.1:1": "nothing listens at",
        "no-such-host.invalid:6379": "nothing listens at",
        "somewhere": "must be host:port",
        "127.0.0.1:70000": "must be host:port",
    }.items():
        with pytest.raises(ClusterUnavailable, match=told):
            async with asyncio.timeout(10), open_ray(address, settings=own_settings):
                pass


@pytest.mark.asyncio(loop_scope="module")
async def test_a_listener_that_is_no_ray_cluster_is_told_in_time(own_settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ClusterUnavailable, match="did not answer as a Ray cluster within 5 seconds"):
            async with asyncio.timeout(30), open_ray(address, settings=own_settings, patience=Patience(connect=5)):
                pass


def test_without_the_option_ray_is_not_loaded() -> None:
    code = (
        "import sys, ingestion.__main__, ingestion.ray.connection, ingestion.pipeline.factory; "
        "print('ray' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


@pytest.mark.asyncio(loop_scope="module")
async def test_the_process_that_speaks_with_ray_may_be_killed(own_settings, cluster) -> None:
    async with open_ray(cluster.address, settings=own_settings, patience=PATIENCE) as opened:
        reader = await opened.parser(**SIZES)
        waiting = asyncio.create_task(reader.parse(Path("gone.txt")))
        opened._link.kill()
        with pytest.raises(ClusterUnavailable, match="took the process that spoke with it along"):
            await waiting


@pytest.mark.asyncio(loop_scope="module")
async def test_without_the_library_the_command_says_what_to_install(own_settings, monkeypatch) -> None:
    monkeypatch.setattr(connection, "find_spec", lambda _: None)
    with pytest.raises(ClusterUnavailable, match="needs the extra `ray`"):
        async with open_ray("local", settings=own_settings):
            pass


def test_a_cluster_is_shared_between_reading_and_embedding() -> None:
    settings = EmbeddingSettings()
    large, small, head = Node("a", 16), Node("b", 8), Node("c", 0)
    assert lay_out([large, head, small], settings=settings) == Layout((*"aaaabb",), (*"aaaabb",), threads=4)
    assert lay_out([head, Node("d", 2)], settings=settings) == Layout(("d",), ("d",), threads=2)
    assert lay_out([Node("d", 1)], settings=settings) == Layout(("d",), ("d",), threads=1)
    fitting = lay_out([Node("d", 7)], settings=settings.model_copy(update={"threads": 3}))
    assert (fitting.parsers, fitting.threads) == (("d", "d"), 3)
    assert 2 * (fitting.cpus(EMBEDDING_SHARE) + fitting.cpus(PARSING_SHARE)) < 7
    on_gpus = settings.model_copy(update={"backend": "torch", "device": "cuda"})
    assert lay_out([Node("d", 8, 3)], settings=on_gpus) == Layout(("d", "d"), ("d", "d", "d"), threads=4, gpus=1)
    for nodes, chosen, told in (([head], settings, "has a CPU"), ([small], on_gpus, "has a GPU")):
        with pytest.raises(ClusterUnavailable, match=told):
            lay_out(nodes, settings=chosen)


@pytest.mark.soak
@pytest.mark.asyncio(loop_scope="module")
async def test_a_lost_cluster_is_one_clear_error(reader, model, cluster, tmp_path) -> None:
    """The last: nothing is left of the cluster."""
    (path,) = written(tmp_path, 1)
    working = asyncio.create_task(model.texts(["a"] * 640))
    await asyncio.sleep(0.3)
    cluster.kill()
    with pytest.raises(ClusterUnavailable, match=r"is lost.*What is committed stays"):
        await working
    with pytest.raises(ClusterUnavailable, match=r"is lost.*What is committed stays"):
        await reader.parse(path)
