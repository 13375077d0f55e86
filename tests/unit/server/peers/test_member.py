"""A worker's name, and how others find it."""

from __future__ import annotations

from server.peers.member import Member, WorkersState, address_of, new_name, read_state, write_state


def member(folder, *, name="0123abcd"):
    return Member(name, 1, 2, folder)


def test_a_stream_s_id_leads_to_its_worker(tmp_path):
    one, other = member(tmp_path), member(tmp_path, name=new_name())
    other.address.touch()
    stream = other.new_stream_id()
    assert len(stream) == 32
    assert one.owner_of(stream) == other.address
    assert other.owner_of(stream) is None  # its own
    assert one.owner_of("f" * 32) is None  # nobody's


def test_no_id_leads_out_of_the_folder(tmp_path):
    for name in ("../../etc", "a/b/c/d/", "\0\0\0\0", "\uff41bcdefgh", ""):
        assert address_of(tmp_path, name).parent == tmp_path
        assert address_of(tmp_path, name).name == "nobody.sock"


def test_the_others_are_those_with_a_socket(tmp_path):
    one = member(tmp_path)
    one.address.touch()
    assert one.others() == []
    (tmp_path / "ffff0000.sock").touch()
    assert [path.name for path in one.others()] == ["ffff0000.sock"]


def test_the_state_is_what_was_written_last(tmp_path):
    assert read_state(tmp_path) is None
    write_state(tmp_path, WorkersState(1, 2))
    write_state(tmp_path, WorkersState(2, 2))
    assert read_state(tmp_path) == WorkersState(2, 2)
    (tmp_path / "workers.json").write_text("no")
    assert read_state(tmp_path) is None
