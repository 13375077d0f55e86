"""What is wrong with plug-ins is said at the start, in one line; what is right is told, with what it cannot do."""

from __future__ import annotations

import pytest
import structlog
from support.plug_ins import BAD, SAMPLE, installed

from config.settings import PlugInSettings, SettingsError
from server.plug_ins.opening import open_plug_ins


@pytest.fixture(autouse=True)
def packages():
    with installed(SAMPLE, BAD) as folder:
        yield folder


SECRET = "s3cret-value"
PARROT = "footnote_sample.engines.Parrot"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"engines": {"hybrid": PARROT}}, "there is an engine of this name already"),
        ({"engines": {"context": PARROT}}, "there is an engine of this name already"),
        ({"chat_engines": {"parrot": "footnote_sample.engines.Counting"}}, "there is an engine of this name already"),
        ({"engines": {"parrot": PARROT}}, "an installed package offers 'parrot', too"),
        ({"engines": {"x": "no-such"}}, "FOOTNOTE_PLUG_INS__ENGINES 'x': 'no-such' is no class"),
        (
            {"engines": {"x": {}}},
            "no installed package offers 'x' as footnote.engines; there are: brief, parrot, titles",
        ),
        ({"engines": {"x": "no_such_package.sub.Class"}}, "pip install no-such-package"),
        ({"engines": {"x": "footnote_sample.engines.NoSuch"}}, "footnote_sample.engines has no class NoSuch"),
        (
            {"engines": {"x": "footnote_sample.guards.NoAddresses"}},
            "NoAddresses is no BaseQueryEngine, no BaseRetriever",
        ),
        ({"engines": {"x": "footnote_sample.engines.Counting"}}, "Counting is no BaseQueryEngine"),
        ({"chat_engines": {"x": PARROT}}, "Parrot is no BaseChatEngine"),
        ({"postprocessors": [PARROT]}, "FOOTNOTE_PLUG_INS__POSTPROCESSORS[0]: Parrot is no BaseNodePostprocessor"),
        ({"postprocessors": ["no-such"]}, "there are: no-bread"),
        ({"postprocessors": [{}]}, "name a class"),
        ({"guards": [PARROT]}, "Parrot is no class with check_question or check_answer"),
        ({"engines": {"x": {"class": PARROT, "arguments": {"suffix": [SECRET]}}}}, "see suffix"),
        ({"engines": {"x": {"class": PARROT, "arguments": {"suffix": "${NO_SUCH}"}}}}, "NO_SUCH is not set"),
        (
            {"engines": {"x": {"class": "footnote_bad.engines.NeverMade", "timeout": 0.2}}},
            "was not made in 0.2 seconds",
        ),
        ({"engines": {"x": "footnote_bad.broken.Engine"}}, "cannot be imported (SystemExit"),
    ],
)
def test_what_cannot_be_used_is_one_line(settings, said):
    with pytest.raises(SettingsError) as caught:
        open_plug_ins(PlugInSettings(**settings))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_two_packages_of_one_name_are_refused(packages):
    other = packages / "other_sample-1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other-sample\nVersion: 1\n")
    (other / "entry_points.txt").write_text("[footnote.engines]\nparrot = footnote_bad.engines:Sleeper\n")
    with pytest.raises(SettingsError, match="footnote-sample and other-sample both offer 'parrot'"):
        open_plug_ins(PlugInSettings())


def test_a_wrong_class_of_a_package_is_not_put_down_to_a_setting(packages):
    other = packages / "wrong_sample-1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: wrong-sample\nVersion: 1\n")
    (other / "entry_points.txt").write_text("[footnote.engines]\nwrong = footnote_sample.guards:NoAddresses\n")
    with pytest.raises(
        SettingsError, match=r"^footnote\.engines 'wrong' of wrong-sample: NoAddresses is no BaseQueryE"
    ):
        open_plug_ins(PlugInSettings())
    with pytest.raises(SettingsError, match=r"^FOOTNOTE_PLUG_INS__ENGINES 'wrong': NoAddresses is no BaseQueryE"):
        open_plug_ins(PlugInSettings(engines={"wrong": {"timeout": 2}}))


def test_the_start_tells_how_each_runs_and_what_it_cannot_do():
    with structlog.testing.capture_logs() as logs:
        opened = open_plug_ins(PlugInSettings(engines={"a": "footnote_bad.engines.AsyncMisbehaving"}))
    told = {each["plug_in"]: each for each in logs if each["event"] == "plug-in opened"}
    assert told["parrot"]["runs"] == "in threads, 30 seconds at most"
    assert told["parrot"]["cannot"] == ["/retrieve"]
    assert told["titles"]["cannot"] == []
    assert told["a"]["runs"] == "on the event loop"
    assert told["counting"]["cannot"] == ["streaming"]
    assert opened.names == ("a", "brief", "parrot", "titles", "counting")


def test_options_of_an_installed_one_are_named_without_a_class():
    opened = open_plug_ins(
        PlugInSettings(engines={"parrot": {"arguments": {"suffix": "?"}, "threads": 1, "timeout": 2}})
    )
    (calls,) = [each for each in opened.calls if each.name == "parrot"]
    assert calls.timeout == 2
