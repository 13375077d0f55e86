"""Conversations in each order page by page, and what a search leaves of one's own."""

from itertools import pairwise
from typing import get_args

import pytest

from storage.caller import LOCAL, Caller, acting_as
from storage.chat.conversations import ConversationCatalog, ConversationOrder, Sort
from storage.chat.turns import NewTurn, TurnStore
from storage.cursors import encode_cursor
from storage.errors import InvalidCursor
from storage.leases import Leases

ADA, BOB = Caller("public", "ada"), Caller("public", "bob")
QUESTIONS = ("Which port?", "Ähnliche Häfen?", "100% of it", "a_b", "Where is the harbour?")
FORGED = (
    '["-updated_at", "yesterday", "8d5f2b0e-0000-4000-8000-000000000002"]',
    '["-updated_at", "2026-01-01T00:00:00+00:00", "no id"]',
    '["title", "x", "8d5f2b0e-0000-4000-8000-000000000002"]',
    '["-updated_at", 7, 7]',
    '["-updated_at"]',
    "[" * 10_000,
)


@pytest.fixture
async def catalog(database):
    """Return the catalog of what Ada asked, and Bob once."""
    turns = TurnStore(database, leases=Leases(database, seconds=60))
    for who, questions in ((ADA, QUESTIONS), (BOB, ("Which port has Bob?",))):
        with acting_as(who):
            for question in questions:
                await turns.begin(NewTurn(question, 1, "r", None, None), collection="default")
    with acting_as(ADA):
        catalog = ConversationCatalog(database)
        first = await listed(catalog, sort="created_at")
        await catalog.rename(first[0].id, title="Zebra")
        yield catalog


async def listed(catalog, *, sort="-updated_at", contains=None, limit=100):
    found, cursor, order = [], None, ConversationOrder(sort)
    for _ in range(20):
        page = await catalog.list(limit=limit, cursor=cursor, contains=contains, order=order)
        found += page.items
        if (cursor := page.next_cursor) is None:
            return found
    raise AssertionError


@pytest.mark.parametrize("sort", get_args(Sort))
@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_each_order_has_each_conversation_once_page_by_page(catalog, sort, limit):
    found = await listed(catalog, sort=sort, limit=limit)
    assert len(found) == len({each.id for each in found}) == len(QUESTIONS)
    values = [getattr(each, sort.removeprefix("-")) for each in found]
    if sort.endswith("title"):  # as people order them: small letters and capital ones alike
        assert any(title != title.lower() for title in values)
        values = [title.lower() for title in values]
    assert all((one >= other) if sort.startswith("-") else (one <= other) for one, other in pairwise(values))


@pytest.mark.parametrize(
    ("contains", "titles"),
    [
        ("PORT", {"Zebra"}),  # its question says so, its new title does not
        ("zebra", {"Zebra"}),
        ("ähnliche", {"Ähnliche Häfen?"}),
        ("%", {"100% of it"}),
        ("_", {"a_b"}),
        ("Bob", set()),
        ("' OR true --", set()),
    ],
)
async def test_what_is_looked_for_is_in_titles_and_questions_of_one_s_own(catalog, contains, titles):
    assert {each.title for each in await listed(catalog, contains=contains, limit=1, sort="title")} == titles


async def test_others_find_none_of_it_and_an_administrator_all(catalog):
    with acting_as(BOB):
        assert [each.title for each in await listed(catalog, contains="port")] == ["Which port has Bob?"]
        assert len(await listed(catalog)) == 1
    with acting_as(Caller("acme", "ada")):
        assert await listed(catalog, contains="port") == []
    with acting_as(LOCAL):
        assert len(await listed(catalog, contains="port")) == 2


@pytest.mark.parametrize("forged", FORGED)
async def test_a_cursor_that_is_none_is_refused(catalog, forged):
    with pytest.raises(InvalidCursor):
        await catalog.list(limit=1, cursor=encode_cursor(forged))
