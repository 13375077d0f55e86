"""Sources in a file: what is due is run, alone, and a failure stops no other; pages follow their sites."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from support.indexings import open_made_up
from support.sql import execute
from support.web_server import page, redirect, reply, serve

from config.settings import WebSettings
from ingestion.inputs.inputs import Inputs
from ingestion.runs import suspension
from ingestion.runs.run import ingest, ingest_and_sync
from ingestion.runs.suspension import TenantSuspended
from ingestion.schedule.scheduler import Scheduler, UnknownSource
from ingestion.schedule.source_file import Source, read_sources
from ingestion.schedule.strict_yaml import SourcesInvalid
from storage.access.tenants import Tenants
from storage.documents.catalog import DocumentCatalog
from storage.source_runs import SourceKey, SourceRuns


@pytest.fixture
async def indexing(settings):
    async with open_made_up(settings) as opened:
        yield opened


def write(folder, *names, text="What {} says."):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.md").write_text(f"# {name}\n\n{text.format(name)}\n")


def scheduler(indexing, folder, text, **options):
    (folder / "sources.yaml").write_text(text)
    listed = read_sources(folder / "sources.yaml")
    return Scheduler(indexing, listed, watch=lambda _: None, progress=None, **options)


async def run(indexing, folder, text, **options):
    outcome = await scheduler(indexing, folder, text).run(**options)
    return {source.name: source for source in outcome.sources} | {"code": outcome.exit_code}


def ago(indexing, **period):
    """Let all runs have been so long ago."""
    execute(
        indexing.dsn,
        "UPDATE footnote.source_runs SET started_at = started_at - %s, next_try_at = next_try_at - %s",
        timedelta(**period),
        timedelta(**period),
    )


async def sources(indexing, collection="docs"):
    listed = await DocumentCatalog(indexing.database).list(collection=collection, limit=500)
    return sorted(item.source for item in listed.items)


ONE = """
sources:
  - name: handbook
    collection: docs
    path: in
    base: in
    schedule: every 6h
    metadata: {year: 2026, since: 2026-01-02}
"""


async def test_a_source_is_run_when_it_is_due_and_one_that_was_missed_for_long_once(indexing, tmp_path):
    write(tmp_path / "in", "a")
    first = await run(indexing, tmp_path, ONE)
    assert (first["handbook"].state, first["code"]) == ("done", 0)
    assert await sources(indexing) == ["a.md"]
    write(tmp_path / "in", "b")
    second = await run(indexing, tmp_path, ONE)
    assert second["handbook"].state == "not due"
    assert timedelta(hours=5) < second["handbook"].next_at - datetime.now(UTC) < timedelta(hours=6)
    assert await sources(indexing) == ["a.md"]
    ago(indexing, days=30)
    assert (await run(indexing, tmp_path, ONE))["handbook"].state == "done"
    assert (await run(indexing, tmp_path, ONE))["handbook"].state == "not due"
    assert await sources(indexing) == ["a.md", "b.md"]
    stored = execute(indexing.dsn, "SELECT metadata ->> 'since', (metadata -> 'year')::int FROM footnote.documents")
    assert stored == [("2026-01-02", 2026)] * 2


async def test_all_and_only_run_what_is_not_due(indexing, tmp_path):
    write(tmp_path / "in", "a")
    text = ONE + ONE.removeprefix("\nsources:\n").replace("handbook", "other")
    await run(indexing, tmp_path, text)
    assert {each.state for each in (await scheduler(indexing, tmp_path, text).run(everything=True)).sources} == {"done"}
    only = await scheduler(indexing, tmp_path, text).run(only=["other"])
    assert [(each.name, each.state) for each in only.sources] == [("other", "done")]
    with pytest.raises(UnknownSource, match="there are: handbook, other"):
        await scheduler(indexing, tmp_path, text).run(only=["no"])


async def test_a_source_that_was_edited_is_due_at_once(indexing, tmp_path):
    write(tmp_path / "in", "a")
    await run(indexing, tmp_path, ONE)
    edited = ONE.replace("every 6h", "every 5h")
    assert (await run(indexing, tmp_path, edited))["handbook"].state == "done"


async def test_a_failed_source_stops_no_other_and_is_tried_again_after_a_growing_wait(indexing, tmp_path):
    write(tmp_path / "bad", "x", text="POISON")
    write(tmp_path / "in", "a")
    text = "sources:\n  - {name: bad, collection: bad, path: bad, schedule: every 6h}\n" + ONE.removeprefix(
        "\nsources:\n"
    )
    outcome = await run(indexing, tmp_path, text)
    assert (outcome["bad"].state, outcome["handbook"].state, outcome["code"]) == ("failed", "done", 1)
    waits = []
    for _ in range(3):
        again = (await run(indexing, tmp_path, text))["bad"]
        assert again.state == "not due"
        waits.append(round((again.next_at - datetime.now(UTC)).total_seconds() / 60))
        ago(indexing, hours=1)
        assert (await run(indexing, tmp_path, text))["bad"].state == "failed"
    assert waits == [1, 2, 4]
    write(tmp_path / "bad", "x", text="Well again.")
    ago(indexing, hours=2)
    assert (await run(indexing, tmp_path, text))["bad"].state == "done"
    assert (await SourceRuns(indexing.database).last(SourceKey("bad", "bad"))).failures == 0


async def test_a_run_that_was_killed_counts_as_failed(indexing, tmp_path):
    write(tmp_path / "in", "a")
    chosen = scheduler(indexing, tmp_path, ONE)
    (source,) = read_sources(tmp_path / "sources.yaml").sources
    await SourceRuns(indexing.database).begin(
        SourceKey("docs", "handbook"), definition=source.definition, retry_after=timedelta(minutes=1)
    )
    assert (await chosen.run()).sources[0].state == "not due"
    ago(indexing, minutes=2)
    assert (await chosen.run()).sources[0].state == "done"


async def test_two_processes_run_a_source_once(indexing, settings, tmp_path):
    write(tmp_path / "in", *"abcdef")
    async with open_made_up(settings) as other:
        both = await asyncio.gather(scheduler(indexing, tmp_path, ONE).run(), scheduler(other, tmp_path, ONE).run())
    states = sorted(outcome.sources[0].state for outcome in both)
    assert states in (["done", "not due"], ["done", "running elsewhere"])


async def test_an_interrupted_run_is_due_at_once_and_the_sources_after_it_wait(indexing, tmp_path):
    write(tmp_path / "in", "a", "b")
    text = ONE + ONE.removeprefix("\nsources:\n").replace("handbook", "other")
    (tmp_path / "sources.yaml").write_text(text)
    listed = read_sources(tmp_path / "sources.yaml")
    outcome = await Scheduler(indexing, listed, watch=lambda pipeline: pipeline.stop(), progress=None).run()
    assert [(each.name, each.state) for each in outcome.sources] == [("handbook", "interrupted")]
    assert outcome.exit_code == 130
    assert (await run(indexing, tmp_path, text))["handbook"].state == "done"


async def test_splitter_settings_make_a_new_collection_and_are_held_against_one_that_is_there(indexing, tmp_path):
    write(tmp_path / "in", "a", text="A sentence of some words. " * 100)
    text = ONE + "    chunking: {tokens: 32, overlap: 4}\n    language: german\n"
    assert (await run(indexing, tmp_path, text))["handbook"].state == "done"
    built = (await indexing.collections.active("docs")).chunking
    assert (built.tokens, built.overlap, built.language) == (32, 4, "german")
    outcome = await run(indexing, tmp_path, text.replace("tokens: 32", "tokens: 64"))
    assert (outcome["handbook"].state, outcome["code"]) == ("failed", 1)
    assert "was built with tokens 32" in outcome["handbook"].error
    assert "FOOTNOTE_INGESTION__CHUNK_TOKENS=64 python -m ingestion --reindex" in outcome["handbook"].error
    assert (await run(indexing, tmp_path, ONE))["handbook"].state == "done"  # without them it takes what is there


async def test_a_source_with_sync_deletes_and_is_refused_like_the_command(indexing, tmp_path):
    write(tmp_path / "in", *(f"n{number}" for number in range(9)), "draft")
    text = ONE + "    sync: true\n    exclude: ['draft*']\n"
    await run(indexing, tmp_path, text)
    (tmp_path / "in" / "n0.md").unlink()
    assert (await run(indexing, tmp_path, text, everything=True))["handbook"].outcome.report.deleted == 1
    for number in range(1, 8):
        (tmp_path / "in" / f"n{number}.md").unlink()
    refused = await run(indexing, tmp_path, text, everything=True)
    assert (refused["handbook"].state, refused["code"]) == ("refused", 4)
    forced = await scheduler(indexing, tmp_path, text, force=True).run(everything=True)
    assert forced.sources[0].outcome.report.deleted == 7
    assert await sources(indexing) == ["n8.md"]


async def test_a_dry_run_of_sources_writes_nothing_and_leaves_them_due(indexing, tmp_path):
    write(tmp_path / "in", "a")
    outcome = await run(indexing, tmp_path, ONE, dry_run=True)
    assert (outcome["handbook"].state, outcome["handbook"].outcome.documents["added"]) == ("planned", 1)
    assert execute(indexing.dsn, "SELECT count(*) FROM footnote.collections") == [(0,)]
    assert (await run(indexing, tmp_path, ONE))["handbook"].state == "done"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("sources: [", "line 1: it is no YAML"),
        ("a: 1", "line 1: sources: Field required"),
        ("sources: []", "lists 0 sources"),
        ("sources:\n  - name: x\n    path: a\n    shedule: every 6h", r"line 4: source 'x', shedule: Extra inputs"),
        ("sources:\n  - path: a", r"line 2: source 1, name: Field required"),
        ("sources:\n  - name: x", "line 2: source 'x', one of path, paths, glob, url and urls is wanted"),
        ("sources:\n  - name: x\n    path: a\n    name: y", "line 4: 'name' comes twice"),
        ("sources:\n  - {name: x, path: a}\n  - {name: x, path: b}", "line 3: there are two sources 'x'"),
        ("sources:\n  - {name: x, path: a, schedule: 61 * * * *}", "neither a cron expression"),
        (
            "sources:\n  - {name: x, path: a, schedule: 0 0 30 2 *}",
            r"Bad day-of-month\) nor a period such as every 6h$",
        ),
        ("sources:\n  - {name: x, path: a, schedule: every 0h}", "is no period"),
        ("sources:\n  - {name: x, path: a, timezone: Nowhere/Land}", "no time zone"),
        ("sources:\n  - {name: x, glob: '*.md', sync: true}", "sync needs path"),
        ("sources:\n  - {name: x, path: '*.md'}", "write it under glob"),
        ("sources:\n  - {name: x, url: 'ftp://a'}", "is no URL"),
        ("sources:\n  - {name: x, path: a, metadata: {title: b}}", "'title' is Footnote's own"),
        ("sources:\n  - {name: x, path: a, metadata: {b: .nan}}", "NaN"),
        ("sources:\n  - {name: x, path: a, collection: 'A B'}", "collection"),
        ("sources:\n  - {name: x, path: a, metadata: {d: 2026-13-45}}", "a value cannot be read"),
        ("sources: &a\n  - {name: x, path: a, metadata: {b: *a}}", "within what it stands for"),
        ("sources: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("[" * 50_000, "nested too deeply"),
        ("a" * (1 << 21), "larger than"),
        ("\x00", "no YAML"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_its_line(tmp_path, text, said):
    file = tmp_path / "sources.yaml"
    file.write_text(text)
    with pytest.raises(SourcesInvalid, match=said):
        read_sources(file)


def test_aliases_that_grow_are_refused_before_they_do(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    file = tmp_path / "sources.yaml"
    file.write_text("\n".join(lines))
    with pytest.raises(SourcesInvalid, match=r"with its aliases it has more than 100000 values"):
        read_sources(file)


def test_a_cron_expression_follows_its_time_zone_through_the_change_of_clocks():
    source = Source(name="x", path="a", schedule="30 6 * * *", timezone="Europe/Berlin")
    winter, summer = datetime(2026, 3, 27, 12, tzinfo=UTC), datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert source.next_after(winter).astimezone(UTC) == datetime(2026, 3, 28, 5, 30, tzinfo=UTC)
    assert source.next_after(summer).astimezone(UTC) == datetime(2026, 3, 29, 4, 30, tzinfo=UTC)


# pages


def text_page(text, **headers):
    return page(f"<html><body><main><h1>Page</h1><p>{text}</p></main></body></html>", **headers)


@pytest.fixture
async def site():
    async with serve({"/a": text_page("What a says, in many words.", ETag='"1"')}) as site:
        yield site


@pytest.fixture
async def web(settings, site):
    limits = WebSettings(allowed_ports=(site.port,), allow_private=("127.0.0.0/8",), requests_per_second=1000)
    async with open_made_up(settings.model_copy(update={"web": limits})) as opened:
        yield opened


async def fetch(web, *urls, **options):
    return await ingest(web, Inputs("docs", urls, **options), watch=lambda _: None)


async def test_a_page_is_indexed_and_asked_for_on_a_condition_the_next_time(web, site):
    async def conditional(asked, writer):
        is_same = asked.headers.get("if-none-match") == '"1"'
        await (reply(304) if is_same else text_page("What a says.", ETag='"1"'))(asked, writer)

    site.routes["/a"] = conditional
    assert (await fetch(web, site.url("/a#part"))).added == 1
    assert await sources(web) == [site.url("/a")]
    site.asked.clear()
    report = await fetch(web, site.url("/a"))
    assert (report.unchanged, report.added, report.changed) == (1, 0, 0)
    assert site.asked[-1].headers["if-none-match"] == '"1"'
    assert site.paths() == ["/a"]


async def test_a_page_that_changed_is_replaced_and_one_that_did_not_is_not_read(web, site):
    await fetch(web, site.url("/a"))
    assert (await fetch(web, site.url("/a"))).unchanged == 1  # sent again, though nothing changed
    site.routes["/a"] = text_page("Something else now.", ETag='"2"')
    assert (await fetch(web, site.url("/a"))).changed == 1
    assert len(await sources(web)) == 1


async def test_a_feed_stands_for_its_pages(web, site):
    items = "".join(f"<item><link>{site.url(f'/{name}')}</link></item>" for name in "abc")
    site.routes["/feed"] = page(f"<rss><channel>{items}</channel></rss>", content_type="application/rss+xml")
    site.routes["/b"] = text_page("What b says.")
    site.routes["/c"] = reply(500)
    report = await fetch(web, site.url("/feed"))
    assert (report.added, report.numbers["failed"], report.exit_code) == (2, 1, 1)
    assert report.as_json()["failed"][0]["path"] == site.url("/c")


async def test_a_page_that_is_gone_stays_without_sync_and_goes_with_it(web, site):
    site.routes["/b"] = text_page("What b says.")
    await fetch(web, site.url("/a"), site.url("/b"))
    site.routes["/a"] = reply(410)
    report = await fetch(web, site.url("/a"), site.url("/b"))
    assert (report.exit_code, report.deleted) == (3, 0)
    assert "--sync deletes it" in report.as_text()
    inputs = Inputs("docs", [site.url("/a"), site.url("/b")])
    outcome = await ingest_and_sync(web, inputs, force=False, watch=lambda _: None)
    assert (outcome.exit_code, outcome.report.deleted) == (0, 1)
    assert await sources(web) == [site.url("/b")]


@pytest.mark.parametrize("status", [500, 503, 403, 429])
async def test_a_page_that_cannot_be_had_now_is_never_taken_for_gone(web, site, status):
    await fetch(web, site.url("/a"))
    site.routes["/a"] = reply(status)
    outcome = await ingest_and_sync(web, Inputs("docs", [site.url("/a")]), force=True, watch=lambda _: None)
    assert outcome.report.deleted == 0
    assert outcome.exit_code in {1, 3}
    assert await sources(web) == [site.url("/a")]


async def test_pages_that_are_gone_count_for_the_share(web, site):
    for number in range(7):
        site.routes[f"/{number}"] = text_page(f"What {number} says.")
    urls = [site.url(f"/{number}") for number in range(7)]
    await fetch(web, *urls)
    for number in range(6):
        site.routes[f"/{number}"] = reply(404)
    outcome = await ingest_and_sync(web, Inputs("docs", urls), force=False, watch=lambda _: None)
    assert (outcome.exit_code, outcome.report.deleted, len(await sources(web))) == (4, 0, 7)


async def test_paths_and_urls_go_together_and_a_redirect_keeps_the_name_that_was_asked_for(web, site, tmp_path):
    write(tmp_path, "file")
    site.routes["/old"] = redirect("/a")
    report = await ingest(web, Inputs("docs", [str(tmp_path), site.url("/old")], base=tmp_path), watch=lambda _: None)
    assert report.added == 2
    assert await sources(web) == ["file.md", site.url("/old")]


async def test_a_private_address_is_skipped_with_the_reason(indexing):
    report = await ingest(indexing, Inputs("docs", ["http://127.0.0.1/x"]), watch=lambda _: None)
    assert (report.exit_code, report.numbers["skipped"]) == (3, 1)
    assert "http://127.0.0.1/x" in report.as_text()


async def test_a_source_of_a_suspended_tenant_waits_and_is_run_when_it_is_resumed(indexing, tmp_path):
    write(tmp_path / "in", "a")
    tenants = Tenants(indexing.database)
    await tenants.suspend("public")
    held = await run(indexing, tmp_path, ONE)
    assert (held["handbook"].state, held["code"]) == ("tenant suspended", 0)
    forced = await scheduler(indexing, tmp_path, ONE).run(everything=True)
    assert [each.state for each in forced.sources] == ["tenant suspended"]
    with pytest.raises(TenantSuspended, match="tenants resume public"):
        await ingest(indexing, Inputs("docs", [str(tmp_path / "in")]), watch=lambda _: None)
    assert execute(indexing.dsn, "SELECT count(*) FROM footnote.documents") == [(0,)]
    await tenants.resume("public")
    assert (await run(indexing, tmp_path, ONE))["handbook"].state == "done"
    assert await sources(indexing) == ["a.md"]


async def test_a_run_that_is_under_way_stops_when_its_tenant_is_suspended(indexing, tmp_path, monkeypatch):
    monkeypatch.setattr(suspension, "LOOK_SECONDS", 0.05)
    write(tmp_path / "in", *(f"n{number}" for number in range(300)))
    tenants, seen = Tenants(indexing.database), []

    async def suspend(pipeline):
        while not pipeline.report.added:  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0)
        await tenants.suspend("public")

    def watch(pipeline):
        seen.append(asyncio.ensure_future(suspend(pipeline)))

    (tmp_path / "sources.yaml").write_text(ONE)
    listed = read_sources(tmp_path / "sources.yaml")
    outcome = await Scheduler(indexing, listed, watch=watch, progress=None).run()
    assert seen[0].done()
    (source,) = outcome.sources
    assert source.state == "interrupted"
    assert len(await sources(indexing)) < 300
    await tenants.resume("public")
    assert (await run(indexing, tmp_path, ONE))["handbook"].state == "done"
    assert len(await sources(indexing)) == 300
