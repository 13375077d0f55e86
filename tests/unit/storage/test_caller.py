import asyncio
from contextvars import Context

from storage.caller import LOCAL, Caller, acting_as, caller

ADA = Caller("acme", "ada", ("eng", "ops"))


def test_readers_are_everybody_the_subject_and_its_groups():
    assert ADA.readers == ("*", "user:ada", "group:eng", "group:ops")


def test_nobody_asks_unless_somebody_was_named():
    def look():
        assert caller() is None
        with acting_as(ADA):
            assert caller() == ADA
            with acting_as(LOCAL):
                assert caller() == LOCAL
            assert caller() == ADA
        assert caller() is None

    Context().run(look)


async def test_tasks_started_in_the_block_act_for_its_caller_and_others_do_not():
    async def seen():
        await asyncio.sleep(0)
        return caller()

    other = asyncio.create_task(seen())
    with acting_as(ADA):
        mine = asyncio.create_task(seen())
    assert await mine == ADA
    assert await other == LOCAL  # whom the tests' own calls act for
