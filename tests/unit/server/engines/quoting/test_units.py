"""The units that passages are cut into: what can be quoted whole, with what says what it is about."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engines.quoting.units import LONGEST, Source, units
from server.engines.writing.extraction import cited


def shown(text, **fields):
    return [unit.shown for unit in units([Source(1, text, **fields)])]


def of_kind(kind, text):
    return [unit for unit in units([Source(1, text)]) if unit.kind == kind]


@pytest.mark.parametrize(
    "code",
    [
        "$ python -m vault open --door 3\nvault: 1 door is open",
        "VAULT_DOORS=3 VAULT_KEY=walrus make open",
        ".venv/bin/vault clean   # all doors, of other halls too\nrm -rf .vault",
        "vault_dump --format=custom --file=vault.dump",
    ],
)
def test_indented_code_is_code_with_the_sentence_before_it_and_its_lines(code):
    indented = "".join(f"    {line}\n" for line in code.split("\n"))
    (unit,) = of_kind("code", f"Open the doors like this:\n\n{indented}\nThen go in.\n")
    assert (unit.text, unit.before) == (code, "Open the doors like this:")


def test_indented_prose_is_prose():
    text = "NAME\n\n    The doors of the vault are of brass. They are oiled once a week.\n"
    assert not of_kind("code", text)
    assert [unit.text for unit in of_kind("sentence", text)][-1] == "They are oiled once a week."


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("- paper plates\nBudget: 260 euros. Music: the Jetty Cats.", ["paper plates", "Budget: 260 euros."]),
        ("Fees\nFees are due on the first of February.", ["Fees are due on the first of February."]),
        (
            "The vault was built by the\nNorth Company, of brass.",
            ["The vault was built by the North Company, of brass."],
        ),
        ("The doors are:\nBrass, wood.", ["The doors are: Brass, wood."]),
    ],
)
def test_a_line_that_nothing_wrapped_stands_for_itself(text, parts):
    assert shown(text)[: len(parts)] == parts


def test_the_first_unit_below_a_heading_opens_its_section():
    text = "# The vault\n\nIt is of brass. It has doors.\n\n## Doors\n\n- one\n- two\n"
    assert [unit.text for unit in units([Source(1, text)]) if unit.opens] == ["It is of brass.", "one"]
    assert not any(unit.opens for unit in units([Source(1, "The middle of a section. It goes on.")]))


def test_a_table_s_rows_come_with_their_headers_and_its_caption():
    text = "Limits of the vault.\n\n| Item | Most |\n| --- | --- |\n| doors per hall | 1,600 |\n| halls | unlimited |\n"
    rows = of_kind("row", text)
    assert [unit.text for unit in rows] == ["Item: doors per hall; Most: 1,600", "Item: halls; Most: unlimited"]
    assert {unit.lead for unit in rows} == {"Limits of the vault."}
    (column,) = of_kind("column", text)
    assert column.text == "Item: doors per hall, halls"
    (led_in,) = of_kind("column", text.replace("Limits of the vault.", "The limits are:"))
    assert led_in.text == "The limits are: doors per hall, halls"


def test_a_table_of_keys_and_values_belongs_to_its_heading():
    text = "## BufferSize\n\n| Description: | Most bytes |\n| --- | --- |\n| Default: | `BufferSize 4096` |\n"
    assert [unit.shown for unit in of_kind("row", text)] == [
        "BufferSize: Description: Most bytes",
        "Default: BufferSize 4096",
    ]


def test_parts_of_a_long_table_that_repeat_its_header_are_read_as_one_table_each():
    head = "Valves of 2026\n\n| Part | Pressure |\n| --- | --- |\n"
    one, two = f"{head}| K-1 | 3 |\n| K-2 | 6 |", f"{head}| K-3 | 9 |"
    expected = ["Part: K-1; Pressure: 3", "Part: K-2; Pressure: 6", "Part: K-3; Pressure: 9"]
    assert [unit.text for unit in of_kind("row", f"{one}\n\n{two}")] == expected
    assert [unit.text for unit in of_kind("row", two)] == expected[2:]
    assert {unit.lead for unit in of_kind("row", two)} == {"Valves of 2026"}


def test_a_row_written_as_columns_and_values_is_quoted_with_all_its_columns():
    text = "Part: K-1\nName: Valve 1. Of brass. By hand.\nPressure: 3\n\nPart: K-2\nName: Valve: a new one\nPressure: 6"
    assert [unit.text for unit in of_kind("row", text)] == [
        "Part: K-1; Name: Valve 1. Of brass. By hand.; Pressure: 3",
        "Part: K-2; Name: Valve: a new one; Pressure: 6",
    ]
    assert {unit.kind for unit in units([Source(1, text)])} == {"row"}


def test_rows_without_their_header_are_quoted_row_by_row():
    assert [unit.text for unit in of_kind("row", "| K-1 | Valve. Of brass. |\n| K-2 | a\\|b |")] == [
        "K-1; Valve. Of brass.",
        "K-2; a\\|b",
    ]


@pytest.mark.parametrize(
    "text", ["Note: it is of brass.", "Note: it is of brass\nand of steel.", "It opens: now.\nOr not."]
)
def test_prose_with_a_colon_is_no_row(text):
    assert of_kind("row", text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`--keep`\n\nKeep the file on the disk.", "--keep: Keep the file on the disk."),
        ("-w\n\nIgnore white space.", "-w: Ignore white space."),
        ("vault.maxDoors\n\nThe default is 12.", "vault.maxDoors: The default is 12."),
        ("- INPUT `priority`\n\n  This asks a question.", "INPUT priority: This asks a question."),
    ],
)
def test_what_explains_a_term_is_shown_under_it(text, expected):
    assert expected in shown(text)


def test_a_list_is_quoted_whole_and_item_by_item_after_what_leads_it_in():
    text = "Valid keys are:\n\n- brass\n- steel\n- bone, which *breaks*\n\nNothing else opens it."
    assert [unit.text for unit in of_kind("item", text)] == ["brass", "steel", "bone, which breaks"]
    assert {unit.lead for unit in of_kind("item", text)} == {"Valid keys are:"}
    (whole,) = of_kind("list", text)
    assert whole.text == "Valid keys are: brass; steel; bone, which breaks"
    assert "Nothing else opens it." in shown(text)


def test_code_comes_after_the_sentence_before_it_as_it_is():
    (code,) = of_kind("code", "To open the vault:\n\n```sh\nvault open --key  brass\n\tnow\n```\n")
    assert code.text == "vault open --key  brass\n\tnow"
    assert code.shown == "To open the vault:\nvault open --key  brass\n\tnow"


def test_code_below_a_list_that_has_ended_does_not_come_after_its_last_item():
    text = "- The hall closes at ten.\n- Bring chairs.\n\n```\nunlock --door hall\n```\n"
    (code,) = of_kind("code", text)
    assert code.shown == "unlock --door hall"
    (within,) = of_kind("code", "- Unlock it:\n\n  ```\n  unlock --door hall\n  ```\n")
    assert within.shown == "Unlock it:\nunlock --door hall"


def test_a_sentence_knows_its_heading_and_the_sentence_before():
    first, second = units([Source(1, "It has a door. It is of brass.", heading="Vaults > The old vault ¶")])
    assert (second.heading, second.before) == ("The old vault", "It has a door.")
    assert first.before == ""


def test_a_passage_that_begins_within_a_block_gives_what_is_left_of_it():
    assert shown("    and of brass. The rest is steel.\n\n  | a | b |\n  | --- | --- |\n  | 1 | 2 |") == [
        "and of brass.",
        "The rest is steel.",
        "a: 1; b: 2",
    ]


def test_passages_that_touch_are_read_as_one_and_keep_their_numbers():
    whole = "| Key | Value |\n| --- | --- |\n| one | 1 |\n| two | 2 |\n"
    cut = whole.index("| two")
    parts = [
        Source(2, whole[:cut], document="d", start=100, end=100 + cut),
        Source(1, whole[cut:], document="d", start=100 + cut, end=100 + len(whole)),
    ]
    found = {unit.text: unit.number for unit in units(parts) if unit.kind == "row"}
    assert found.keys() == {"Key: one; Value: 1", "Key: two; Value: 2"}  # the second passage has no header of its own
    assert set(found.values()) <= {1, 2}


def test_passages_of_different_documents_are_never_joined():
    parts = [
        Source(1, "One begins", document="a", start=0, end=10),
        Source(2, " and ends.", document="b", start=10, end=20),
    ]
    assert sorted((unit.text, unit.number) for unit in units(parts)) == [("One begins", 1), ("and ends.", 2)]


def test_a_unit_stands_once_however_many_passages_have_it():
    parts = [Source(n, "The same sentence.", document="d", start=n * 1000, end=n * 1000 + 18) for n in (1, 2)]
    assert [(unit.text, unit.number) for unit in units(parts)] == [("The same sentence.", 1)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n \n",
        "| |\n| --- |\n",
        "```\nunclosed",
        "[" * 5000,
        "> " * 3000 + "x",
        "- " * 2000 + "x",
        "|" * 4000,
        "*" * 9999,
    ],
)
def test_odd_passages_give_what_they_hold_and_no_error(text):
    assert all(0 < len(unit.text) <= LONGEST for unit in units([Source(1, text)]))


@given(st.lists(st.text(alphabet="ab|-`#*>\n .:0[]", max_size=120), max_size=4))
def test_any_passages_can_be_read(texts):
    for unit in units([Source(number, text) for number, text in enumerate(texts, start=1)]):
        assert 1 <= unit.number <= len(texts)
        assert unit.text.strip()


def test_a_place_is_below_the_headings_of_its_path_and_of_the_text_since():
    text = "### Storage\n\nFive cups fit.\n\n## Premium\n\n### Storage\n\nNine cups fit.\n\n# Terms\n\nNo cups."
    found = units([Source(1, text, name="tariffs.md", heading="Tariffs > Basic > Storage")])
    assert [(unit.name, unit.heading) for unit in found] == [
        ("tariffs.md Tariffs Basic", "Storage"),
        ("tariffs.md Tariffs Premium", "Storage"),
        ("tariffs.md ", "Terms"),
    ]


def test_a_heading_after_the_middle_of_a_section_ends_it():
    found = units([Source(1, "Five cups fit.\n\n## Premium\n\nNine cups fit.", heading="Tariffs > Basic")])
    assert [(unit.name.strip(), unit.heading) for unit in found] == [("Tariffs", "Basic"), ("Tariffs", "Premium")]


def test_a_term_is_shown_with_what_explains_it_and_never_alone():
    shown = [unit.shown for unit in units([Source(1, "Power\n\n900 W, when hot.\n\nVolume\n\nTwo litres.")])]
    assert shown == ["Power: 900 W, when hot.", "Volume: Two litres."]


def test_what_a_sentence_explains_stands_before_its_quotation_marks():
    (unit,) = units([Source(2, "Power\n\n900 W, when hot.")])
    assert cited(unit) == "Power: “900 W, when hot.” [2]"
