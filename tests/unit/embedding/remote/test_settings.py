"""What the settings say of remote models, how their tokens are estimated, and the bar of each model."""

import pytest
from pydantic import ValidationError

from config.settings import EmbeddingSettings, Settings
from embedding.calibration import least_score
from embedding.named import model_named
from embedding.remote.model import ESTIMATE
from embedding.tokenizer import load_tokenizer
from storage.errors import InvalidCollection


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"class": "a.B", "provider": "local"}, "CLASS or PROVIDER, not both"),
        ({"provider": "openai"}, "needs MODEL"),
        ({"provider": "openai_like", "model": "m"}, "needs BASE_URL"),
        ({"provider": "openai_like", "model": "m", "base_url": "localhost:80"}, "must be http"),
        ({"provider": "openai_like", "model": "m", "base_url": "http://u:secret@h:1/v1"}, "must be http"),
        ({"provider": "ollama", "model": "m", "normalize": False}, "leave NORMALIZE out"),
        ({"arguments": {"a": 1}}, "ARGUMENTS are those of a CLASS"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given, words):
    with pytest.raises(ValidationError, match=words) as caught:
        EmbeddingSettings(**given)
    assert "secret" not in str(caught.value)


def test_a_model_is_found_by_its_name_and_the_default_is_the_group():
    settings = Settings(_env_file=None, embeddings={"other": {"provider": "ollama", "model": "m"}})
    assert model_named(None, settings) == model_named("default", settings) == settings.embedding
    assert model_named("other", settings).model == "m"
    with pytest.raises(InvalidCollection, match="default, other"):
        model_named("nobody", settings)
    with pytest.raises(ValidationError, match="is the group EMBEDDING"):
        Settings(_env_file=None, embeddings={"default": {}})


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("The lighthouse was built in 1871.", 8, 16),
        ("Die Donaudampfschifffahrtsgesellschaft", 10, 12),
        ("数据库系统", 5, 5),
        ("Российская империя", 9, 10),
        ("| 12.5 | 3 |", 7, 12),
        ("ภาษาไทย", 5, 7),
        ("", 0, 0),
    ],
)
def test_tokens_are_estimated_by_script(text, least, most):
    encoded = load_tokenizer(str(ESTIMATE)).encode(text, add_special_tokens=False)
    assert least <= len(encoded) <= most
    assert "".join(text[begin:end] for begin, end in encoded.offsets) == text
    assert len(load_tokenizer(str(ESTIMATE)).encode(text)) == len(encoded) + 2


def test_a_model_that_was_not_measured_has_no_bar():
    assert least_score("all-MiniLM-L6-v2") == least_score("sentence-transformers/all-MiniLM-L6-v2") == 0.15
    assert least_score("multilingual-e5-small") == 0
