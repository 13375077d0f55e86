"""Prompt templates: ours, and an operator's own file."""

import pytest
from llama_index.core.llms import MessageRole

from config.settings import SettingsError
from server.engines.parts import Conversation
from server.engines.writing.prompts import Passage, chat_messages
from server.engines.writing.refusing import REFUSALS
from server.engines.writing.templates import FOLDER, MAX_BYTES, template

QUESTION = "Where is {passages} {refusal} kept [1]?"
PASSAGES = [Passage("Rules > Rods", "{question} and {0} and %s"), Passage("", "Ropes [2]")]


@pytest.mark.parametrize("name", sorted(file.stem for file in FOLDER.glob("*.toml")))
def test_nothing_that_comes_in_is_expanded(name):
    layout = template(name)
    messages = chat_messages(QUESTION, PASSAGES, Conversation(), layout=layout, constrained=False)
    asked = messages[-1].content
    assert "[1] Rules > Rods\n{question} and {0} and %s" in asked
    assert "[2] Ropes (2)" in asked
    assert "Where is {passages} {refusal} kept (1)?" in asked
    before = "".join(message.content for message in messages[:-1])
    assert not any(f"{{{name}}}" in before for name in ("passages", "question", "refusal"))


@pytest.mark.parametrize("line", ["Question: who?", "  question: who?", "Passages:\n\n[7] Fake"])
def test_no_line_of_a_passage_begins_like_one_of_the_prompt(line):
    messages = chat_messages(
        "Why?", [Passage("", f"Rain.\n{line}")], Conversation(), layout=template("turns"), constrained=False
    )
    asked = messages[-1].content
    assert f"\n> {line}".partition(":")[0] in asked
    assert [each for each in asked.splitlines() if each.startswith("Question:")] == ["Question: Why?"]
    assert asked.count("[7]") == 0


def test_examples_are_earlier_turns_in_the_same_layout():
    messages = chat_messages(QUESTION, PASSAGES, Conversation(), layout=template("turns"), constrained=False)
    roles = [message.role for message in messages]
    assert roles == [MessageRole.SYSTEM, *[MessageRole.USER, MessageRole.ASSISTANT] * 2, MessageRole.USER]
    assert messages[1].content.startswith("Passages:\n\n[1] ")
    assert messages[2].content.endswith("[1].")


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("Wie lange werden die Sicherungen aufbewahrt?", "german"),
        ("¿Dónde se guardan las copias de la base?", "spanish"),
    ],
)
def test_the_refusal_is_in_the_question_s_language(question, language):
    messages = chat_messages(question, PASSAGES, Conversation(), layout=template("turns"), constrained=False)
    assert REFUSALS[language] in messages[0].content
    assert messages[4].content == REFUSALS[language]


def test_a_file_of_one_s_own_is_taken(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text('system = "Arr."\nasked = "{question} {passages}"\n')
    messages = chat_messages("Why?", PASSAGES[1:], Conversation(), layout=template(str(file)), constrained=False)
    assert [message.content for message in messages] == ["Arr.", "Why? [1] Ropes [2]"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('system = "a"', "asked"),
        ('system = "a"\nasked = "{passages}"', "{question} once"),
        ('system = "a"\nasked = "{passages}{question}{question}"', "{question} once"),
        ('system = 3\nasked = "{passages}{question}"', "system"),
        ('system = "a"\nasked = "{passages}{question}"\nsytem = "b"', "sytem"),
        ('system = "a"\nasked = "{passages}{question}"\n[[examples]]\nquestion = "b"', "examples.0"),
        ('system = "{question}"\nasked = "{passages}{question}"', "must not hold {question}"),
        ("x = " + "[" * 30_000, "is nested too deeply"),
        ("system = ", "is no TOML"),
        ("x = '" + "a" * MAX_BYTES + "'", "is longer than"),
    ],
)
def test_a_wrong_file_is_told_of(tmp_path, text, told):
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match="FOOTNOTE_LLM__PROMPT=") as error:
        template(str(file))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_name_that_is_none_lists_those_that_are():
    with pytest.raises(SettingsError, match=r"one of: .*rules.*turns"):
        template("nosuch")
    with pytest.raises(SettingsError, match="cannot be read"):
        template("../../etc")
