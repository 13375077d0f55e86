"""What is shown of a run: the stage it is in, and the time left only where it is known."""

from ingestion.cli.progress import Pace, stage_of
from ingestion.pipeline.report import IngestReport
from ingestion.pipeline.stages import Stages


def report(*, added=0, **stages):
    return IngestReport("docs", added=added, stages=Stages(**stages))


def test_each_stage_is_named():
    for made, expected in (
        (report(), "looking for documents that are new or changed"),
        (report(read=3, is_opening_model=True), "opening the embedding model, 3 of 92 documents read"),
        (report(read=3, to_embed=40), "reading and splitting"),
        (report(read=3, to_embed=40, embedded=12), "embedding: 12 of 40 chunks so far"),
        (report(read=92, to_embed=1, is_all_read=True), "embedding: 0 of 1 chunk"),
        (report(read=92, to_embed=1000, embedded=1000, is_all_read=True, added=20), "storing"),
        (report(read=92, to_embed=1000, embedded=1000, is_all_read=True, added=92), "finishing the index"),
    ):
        assert stage_of(made, total=92, pace=None) == expected


def test_the_time_left_is_told_only_once_all_documents_are_chunks():
    ahead = report(read=50, to_embed=1000, embedded=400)
    assert stage_of(ahead, total=92, pace=20.0) == "embedding: 400 of 1,000 chunks so far, 20/s"
    known = report(read=92, to_embed=1600, embedded=400, is_all_read=True)
    assert stage_of(known, total=92, pace=20.0) == "embedding: 400 of 1,600 chunks, 20/s, 1:00 left"


def test_a_pace_is_that_of_the_last_minute_and_unknown_in_the_first_seconds():
    now = 0.0
    pace = Pace(clock=lambda: now)
    assert pace.add(0) is None
    now = 60.0  # the model was opened, which is no part of the pace
    assert pace.add(64) is None
    now = 63.0
    assert pace.add(128) is None
    now = 70.0
    assert pace.add(264) == 20.0
    assert pace.add(264) == 20.0
    now = 300.0
    assert pace.add(494) == 1.0  # long ago it was quicker
