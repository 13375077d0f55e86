"""Places that tenants share."""

import asyncio

import pytest

from server.waiting.fair import FairPlaces
from server.waiting.turns import Turns
from storage.caller import Caller, acting_as


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_single_request_of_another_tenant_is_next_however_long_a_burst_is() -> None:
    places, order = FairPlaces(1), list[str]()

    async def work(tenant: str) -> None:
        await places.acquire(tenant)
        order.append(tenant)
        await asyncio.sleep(0)
        places.release(tenant)

    burst = [asyncio.create_task(work("a")) for _ in range(100)]
    await settle()
    begun = len(order)
    await asyncio.gather(work("b"), work("c"), *burst)
    assert {order.index("b"), order.index("c")} <= set(range(begun, begun + 4))
    assert len(order) == 102
    assert not places.is_full


async def test_those_who_leave_the_queue_take_no_place_with_them() -> None:
    places = FairPlaces(2)
    for tenant in ("a", "b"):
        await places.acquire(tenant)
    waiting = [asyncio.create_task(places.acquire(tenant)) for tenant in ("a", "a", "b", "c")]
    await settle()
    assert places.ahead("d") == 3
    assert places.ahead("a") == 2 + 1 + 1
    for task in waiting[1:]:
        task.cancel()
    await settle()
    places.release("a")
    waiting[0].cancel()  # it has its place, and is cancelled before it runs
    await settle()
    assert all(task.cancelled() for task in waiting)
    await asyncio.wait_for(places.acquire("x"), 1)
    assert places.is_full
    for tenant in ("b", "x"):
        places.release(tenant)
    assert not places.is_full
    assert not places._taken
    assert not places._queues


@pytest.mark.parametrize(
    ("held", "tenant", "expected"),
    [("aaaa", "a", False), ("aaaa", "b", True), ("aabb", "a", False), ("aabb", "c", True), ("abbb", "a", True)],
)
async def test_who_has_less_than_an_equal_share(held: str, tenant: str, expected: bool) -> None:
    places = FairPlaces(4)
    for holder in held:
        await places.acquire(holder)
    assert places.is_below_share(tenant) is expected


async def test_searches_of_tenants_take_turns() -> None:
    turns, order = Turns(at_once=1, max_wait=60), list[str]()

    async def search(tenant: str) -> None:
        with acting_as(Caller(tenant, "s")):
            async with turns.turn():
                order.append(tenant)
                await asyncio.sleep(0)

    await asyncio.gather(*(search("a") for _ in range(50)), search("b"))
    assert order.index("b") <= 2
