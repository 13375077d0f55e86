"""Secrets in files: for every secret setting, read once, never both, never shown."""

import os
from pathlib import Path

import pytest
from pydantic import BaseModel

from config import environment
from config.environment import FALLBACKS, PREFIX
from config.settings import LLMSettings, Settings, SettingsError, load_settings, secrets_of, setting_keys

GROUPS = {name: type(field.default) for name, field in Settings.model_fields.items()}
SECRETS = [(name, each) for name, kind in GROUPS.items() if issubclass(kind, BaseModel) for each in secrets_of(kind)]
VALUES = {"database": "postgresql://u:p@h/d", "redis": "redis://u:p@h/0", "telemetry": "key=value"}


@pytest.fixture(autouse=True)
def _nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.upper().startswith(PREFIX) or name in FALLBACKS:
            monkeypatch.delenv(name)
    monkeypatch.setattr(environment, "ENV_FILE", Path(".env"))


def test_the_secrets_are_those_one_knows() -> None:
    names = {f"{group}.{name}" for group, name in SECRETS}
    assert {"database.url", "redis.url", "llm.api_key", "auth.bootstrap_key", "rerank.api_key"} <= names


@pytest.mark.parametrize(("group", "name"), SECRETS)
def test_every_secret_may_be_in_a_file(group: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = VALUES.get(group, "s3cret" * 8)
    (tmp_path / "secret").write_text(f"{value}\n")
    setting = f"{PREFIX}{group}__{name}".upper()
    assert f"{setting}_FILE" in {key for key, *_ in setting_keys()}
    monkeypatch.setenv(f"{setting}_FILE", "secret")
    if name == "jwt_secret":
        monkeypatch.setenv("FOOTNOTE_AUTH__JWT_ISSUER", "https://login.example")
        monkeypatch.setenv("FOOTNOTE_AUTH__JWT_AUDIENCE", "me")
    if name == "direct_url":
        monkeypatch.setenv("FOOTNOTE_DATABASE__URL", value)
    settings = load_settings()
    assert getattr(getattr(settings, group), name).get_secret_value() == value
    assert value not in repr(settings)
    monkeypatch.setenv(setting, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert f"{name.upper()}_FILE, not both" in str(caught.value)
    assert value not in str(caught.value)


@pytest.mark.parametrize("content", [None, "", " \n", "\xff", "x" * 70_000])
def test_a_file_without_a_secret_is_refused(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content.encode("latin-1"))
    monkeypatch.setenv("FOOTNOTE_LLM__API_KEY_FILE", "secret")
    with pytest.raises(SettingsError, match="API_KEY_FILE: secret"):
        load_settings()


def test_a_folder_is_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOTNOTE_LLM__API_KEY_FILE", str(tmp_path))
    with pytest.raises(SettingsError, match="is no file"):
        load_settings()


def test_a_file_goes_before_a_name_that_others_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("ours")
    monkeypatch.setenv("OPENAI_API_KEY", "theirs")
    monkeypatch.setenv("FOOTNOTE_LLM__API_KEY_FILE", "secret")
    assert (key := load_settings().llm.api_key) is not None
    assert key.get_secret_value() == "ours"


@pytest.mark.parametrize(
    "given", [{"FOOTNOTE_LLM__PROVIDER": "anthropic"}, {"FOOTNOTE_LLM__CLASS": "my.Class"}], ids=str
)
def test_openai_s_key_is_not_read_for_somebody_else(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "theirs")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://theirs")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert (load_settings().llm.api_key, load_settings().llm.base_url) == (None, None)


def test_named_models_have_secrets_in_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("theirs")
    monkeypatch.setenv("FOOTNOTE_LLMS", '{"spare": {"provider": "openai", "api_key_file": "secret"}}')
    monkeypatch.setenv("FOOTNOTE_LLM__FALLBACK", '["spare"]')
    settings = load_settings()
    assert (key := settings.llms["spare"].api_key) is not None
    assert key.get_secret_value() == "theirs"
    assert settings.llm.fallback == ("spare",)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("FOOTNOTE_LLMS", "{", "FOOTNOTE_LLMS: is no valid JSON"),
        ("FOOTNOTE_LLMS", "[" * 100_000, "FOOTNOTE_LLMS: is no valid JSON"),
        ("FOOTNOTE_LLMS", '{"default": {}}', "`default` is the model of the group LLM"),
        ("FOOTNOTE_LLMS", '{"a": {"fallback": ["b"]}}', "a has a fallback of its own"),
        ("FOOTNOTE_LLMS", '{"a": {"nope": 1}}', "FOOTNOTE_LLMS__A__NOPE"),
        ("FOOTNOTE_LLM__FALLBACK", "nobody", "FOOTNOTE_LLM__FALLBACK: 'nobody' is none of the models in LLMS"),
        ("FOOTNOTE_LLM__FALLBACK_ON", "luck", "FOOTNOTE_LLM__FALLBACK_ON"),
        ("FOOTNOTE_LLM__ARGUMENTS", "1", "FOOTNOTE_LLM__ARGUMENTS: must be a JSON object"),
        ("FOOTNOTE_LLM__ARGUMENTS", '{"a": 1}', "ARGUMENTS are for CLASS and the providers anthropic"),
        ("FOOTNOTE_LLM__PRICES", "{", "FOOTNOTE_LLM__PRICES: is no valid JSON"),
    ],
)
def test_what_is_wrong_with_models_is_one_line(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_and_a_provider_are_refused_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOTNOTE_LLM__CLASS", "a.B")
    monkeypatch.setenv("FOOTNOTE_LLM__PROVIDER", "auto")
    with pytest.raises(SettingsError, match="set PROVIDER or CLASS, not both"):
        load_settings()
    assert "s3cret" not in repr(LLMSettings(class_path="a.B", arguments={"key": "s3cret"}))
