"""How much of a prompt fits: counted by script, or by the model's own tokenizer."""

import pytest
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from config.settings import EmbeddingSettings, SettingsError
from embedding.files import find_model
from server.engines.models.estimates import estimated_tokens
from server.engines.record import Record
from server.engines.room import FitContextWindow, TokenCounter, check_tokenizer


def fit(count, *, window=1000):
    return FitContextWindow(context_window=window, reserved=200, message="", record=Record(), count=count)


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("word " * 100, 100),
        ("数据库的备份每天晚上运行一次" * 10, 140),
        ("Резервная копия " * 20, 120),
        ("| 1234 | 56789 |\n" * 20, 280),
        ("", 0),
    ],
)
def test_an_estimate_is_no_less_than_tokenizers_make_of_it(text, least):
    assert estimated_tokens(text) >= least


@pytest.mark.parametrize(("text", "most"), [("Backups run at night. ", 9), ("数据库的备份每天晚上运行", 4)])
def test_passages_of_any_script_fit_the_window(text, most):
    nodes = [NodeWithScore(node=TextNode(text=text * (200 // len(text)))) for _ in range(30)]
    kept = fit(estimated_tokens)._postprocess_nodes(nodes, QueryBundle("why?"))
    assert 0 < len(kept) <= most
    assert sum(estimated_tokens(node.node.get_content()) for node in kept) <= 800


def test_room_in_characters_follows_the_question_s_script():
    assert fit(estimated_tokens).room("备份什么时候运行") < fit(estimated_tokens).room("when do backups run") / 3


def test_the_model_s_own_tokenizer_counts_where_it_is_given():
    count = TokenCounter(find_model(EmbeddingSettings()).tokenizer_file).count
    nodes = [NodeWithScore(node=TextNode(text="the house " * 100)) for _ in range(9)]  # a token a word
    kept = fit(count)._postprocess_nodes(nodes, QueryBundle("why?"))
    assert len(kept) == 2
    assert count("the house " * 10_000) == pytest.approx(20_000, rel=0.01)


@pytest.mark.parametrize("text", ["{}", "root:x:0:0", ""])
def test_what_is_no_tokenizer_is_told_of(tmp_path, text):
    file = tmp_path / "tokenizer.json"
    file.write_text(text)
    with pytest.raises(SettingsError, match="FOOTNOTE_LLM__TOKENIZER="):
        check_tokenizer(file)
    check_tokenizer(find_model(EmbeddingSettings()).tokenizer_file)
