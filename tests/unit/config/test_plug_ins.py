"""Classes that settings name: what is wrong with them is one line that says what to do, without secrets."""

import sys
from collections import OrderedDict
from importlib.metadata import EntryPoint

import pytest
from pydantic import BaseModel

from config import plug_ins
from config.plug_ins import class_at, loaded, made, offered, resolved
from config.settings import SettingsError

SETTING = "FOOTNOTE_LLM__CLASS"


class Thing(BaseModel):
    key: str
    size: int = 1


def test_a_class_is_imported_and_made_with_arguments_of_the_environment(monkeypatch):
    monkeypatch.setenv("THING_KEY", "s3cret")
    assert class_at("collections.OrderedDict", setting=SETTING, base=dict) is OrderedDict
    made_one = made(Thing, {"key": "a ${THING_KEY}", "size": 3}, setting=SETTING)
    assert (made_one.key, made_one.size) == ("a s3cret", 3)
    assert resolved({"a": [{"b": "${THING_KEY}"}], "c": "$THING_KEY {x}"}, setting=SETTING) == {
        "a": [{"b": "s3cret"}],
        "c": "$THING_KEY {x}",
    }


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("llama_index.llms.no_such.NoSuch", "pip install llama-index-llms-no-such"),
        ("no_such_package.sub.Class", "pip install no-such-package"),
        ("collections.NoSuch", "collections has no class NoSuch"),
        ("collections.abc", "is no builtins.dict"),
        ("collections.deque", "deque is no builtins.dict"),
        ("os", "write package.module.Class"),
        ("os.system('x')", "write package.module.Class"),
        ("../x.y", "write package.module.Class"),
        ("a." * 5000, "write package.module.Class"),
    ],
)
def test_what_is_wrong_with_a_class_is_one_line(path, said):
    with pytest.raises(SettingsError) as caught:
        class_at(path, setting=SETTING, base=dict)
    assert said in str(caught.value)
    assert str(caught.value).startswith(SETTING)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_a_module_that_fails_or_lacks_another_says_which(tmp_path, monkeypatch):
    (tmp_path / "broken_plug_in.py").write_text("raise RuntimeError('first\\nsecond')")
    (tmp_path / "needing_plug_in.py").write_text("import not_there_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsError, match=r"cannot be imported \(RuntimeError: first\)$"):
        class_at("broken_plug_in.X", setting=SETTING, base=dict)
    with pytest.raises(SettingsError, match=r"needs not_there_at_all, which is not installed"):
        class_at("needing_plug_in.X", setting=SETTING, base=dict)
    assert "broken_plug_in" not in sys.modules


def test_wrong_arguments_are_named_and_their_values_are_not():
    with pytest.raises(SettingsError, match=r"see size") as caught:
        made(Thing, {"key": "s3cret", "size": "s3cret too"}, setting=SETTING)
    assert "s3cret" not in str(caught.value)
    with pytest.raises(SettingsError, match="THING_NOT_SET is not set"):
        made(Thing, {"key": "${THING_NOT_SET}"}, setting=SETTING)
    deep: list[object] = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(SettingsError, match="nested too deep"):
        made(Thing, {"key": deep}, setting=SETTING)


def test_entry_points_are_loaded_by_name_and_two_of_a_name_are_refused(monkeypatch):
    one = EntryPoint("x", "collections:OrderedDict", "footnote.engines")
    same = EntryPoint("x", "collections:OrderedDict", "footnote.engines")
    other = EntryPoint("x", "collections:deque", "footnote.engines")
    monkeypatch.setattr(plug_ins, "entry_points", lambda **_: [one, same])
    assert loaded(offered("footnote.engines")["x"], base=dict) is OrderedDict
    with pytest.raises(SettingsError, match="is no builtins"):
        loaded(other, base=dict)
    with pytest.raises(SettingsError, match="cannot be imported"):
        loaded(EntryPoint("y", "no_such:thing", "footnote.engines"))
    monkeypatch.setattr(plug_ins, "entry_points", lambda **_: [one, other])
    with pytest.raises(SettingsError, match="both offer 'x' as"):
        offered("footnote.engines")
