"""The settings: where values come from, what is refused, what stays hidden."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from config import environment
from config.environment import FALLBACKS, OLD_NAMES, PREFIX, old_names_in_use
from config.settings import Settings, SettingsError, load_settings, setting_keys

ROOT = Path(__file__).resolve().parents[3]
EnvFile = Callable[..., None]


@pytest.fixture(autouse=True)
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EnvFile:
    """Start from an empty directory and an environment that says nothing to Footnote; write ``.env`` by keywords."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.upper().startswith("FOOTNOTE_") or name in FALLBACKS:
            monkeypatch.delenv(name)
    monkeypatch.setattr(environment, "ENV_FILE", Path(".env"))  # other tests read no file; here it is the subject
    monkeypatch.setitem(Settings.model_config, "env_file", Path(".env"))

    def write(**values: str) -> None:
        (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))

    return write


def test_nothing_set_gives_the_defaults() -> None:
    settings = load_settings()
    assert settings == Settings.model_construct()
    assert (settings.server.port, settings.database.url, settings.llm.provider) == (8000, None, "auto")


def test_the_environment_goes_before_the_env_file(env_file: EnvFile, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file(FOOTNOTE_SERVER__PORT="9001", FOOTNOTE_SERVER__HOST="0.0.0.0")
    monkeypatch.setenv("FOOTNOTE_SERVER__PORT", "9002")
    assert (load_settings().server.port, load_settings().server.host) == (9002, "0.0.0.0")


def test_the_env_file_goes_before_a_name_that_others_use(env_file: EnvFile, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file(FOOTNOTE_LLM__BASE_URL="http://from-file")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://from-fallback")
    assert load_settings().llm.base_url == "http://from-file"


GIVEN = {
    "REDIS_URL": "redis://u@h/0",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector:4318",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    "OTEL_EXPORTER_OTLP_HEADERS": "api-key=k",
}


@pytest.mark.parametrize(("name", "path"), FALLBACKS.items())
def test_names_that_others_use_go_before_the_default(
    name: str, path: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = GIVEN.get(name, "postgresql://u@h/d")
    monkeypatch.setenv(name, given)
    value = getattr(getattr(load_settings(), path[0]), path[1])
    assert (value.get_secret_value() if isinstance(value, SecretStr) else value) == given


def test_names_that_others_use_are_read_from_the_env_file_too(
    env_file: EnvFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file(OLLAMA_BASE_URL="http://gpu:11434")
    monkeypatch.setenv("OLLAMA_BASE_URL", "")
    assert load_settings().llm.ollama_base_url == "http://gpu:11434"


DEFAULTS = {name: (path, default) for name, path, _, default in setting_keys()}


@pytest.mark.parametrize("place", ["environment", ".env"])
@pytest.mark.parametrize(("old", "new"), OLD_NAMES.items())
def test_a_name_of_the_last_release_is_still_read_and_warned_of_once(
    old: str, new: str | None, place: str, env_file: EnvFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, default = DEFAULTS[PREFIX + new] if new else ((), 0)
    assert PREFIX + old not in DEFAULTS
    value = default / 2 if isinstance(default, int | float) else "redis://old/0"
    if place == ".env":
        env_file(**{PREFIX + old: str(value)})
    else:
        monkeypatch.setenv((PREFIX + old).lower(), str(value))
    found: object = load_settings()
    assert (found == Settings.model_construct()) is (new is None)
    for name in path:
        found = getattr(found, name)
    if new:
        assert (found.get_secret_value() if isinstance(found, SecretStr) else found) == value
    (sentence,) = old_names_in_use()
    assert sentence.startswith(PREFIX + old)
    assert (f"is now called {PREFIX}{new}" if new else "has no effect any more") in sentence
    assert str(value) not in sentence


def test_a_new_name_goes_before_an_old_one_wherever_it_is_set(
    env_file: EnvFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file(FOOTNOTE_REDIS__URL="redis://new/0")
    monkeypatch.setenv("FOOTNOTE_STREAMS__REDIS_URL", "redis://old/0")
    assert _redis_url() == "redis://new/0"
    assert ["is ignored" in sentence for sentence in old_names_in_use()] == [True]


def test_of_two_old_names_of_one_setting_the_first_counts_and_the_other_is_said_to_be_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://fallback/0")
    monkeypatch.setenv("FOOTNOTE_CACHE__REDIS_URL", "redis://cache/0")
    monkeypatch.setenv("FOOTNOTE_STREAMS__REDIS_URL", "redis://streams/0")
    assert _redis_url() == "redis://streams/0"
    assert ["is ignored" in sentence for sentence in old_names_in_use()] == [False, True]


def test_an_old_name_is_never_suggested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOTNOTE_CACHE__REDIS_URI", "redis://h/0")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "CACHE__REDIS_URL" not in str(caught.value)


def _redis_url() -> str | None:
    url = load_settings().redis.url
    return url.get_secret_value() if url else None


def test_an_empty_value_counts_as_not_set(env_file: EnvFile, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file(FOOTNOTE_LLM__MODEL="from-file")
    for name in ("FOOTNOTE_SERVER__PORT", "FOOTNOTE_DATABASE__URL", "FOOTNOTE_LLM__MODEL", "DATABASE_URL"):
        monkeypatch.setenv(name, "")
    settings = load_settings()
    assert (settings.server.port, settings.database.url, settings.llm.model) == (8000, None, "from-file")


def test_names_are_read_whatever_their_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("footnote_server__port", "9003")
    assert load_settings().server.port == 9003


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("FOOTNOTE_SERVER__PROT", "FOOTNOTE_SERVER__PORT"),
        ("FOOTNOTE_PORT", "FOOTNOTE_SERVER__PORT"),
        ("FOOTNOTE_DATABASE_URL", "FOOTNOTE_DATABASE__URL"),
        ("FOOTNOTE_SERVER__PORT__X", "FOOTNOTE_SERVER__PORT"),
    ],
)
def test_an_unknown_key_is_one_line_that_says_what_was_meant(
    name: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == f"{name}: no such setting; did you mean {meant}?"


def test_an_unknown_key_in_the_env_file_is_refused_like_any_other(env_file: EnvFile) -> None:
    env_file(FOOTNOTE_ZZZZZZZZZZ="1")
    with pytest.raises(SettingsError, match=r"^FOOTNOTE_ZZZZZZZZZZ: no such setting; config/example\.env lists"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("FOOTNOTE_SERVER__PORT", "eighty", "valid integer"),
        ("FOOTNOTE_SERVER__PORT", "70000", "less than or equal to 65535"),
        ("FOOTNOTE_SERVER__CORS_ORIGINS", "abc", "an origin is"),
        ("FOOTNOTE_SERVER__ALLOWED_HOSTS", "https://footnote.example", "without scheme and port"),
        ("FOOTNOTE_SERVER__ALLOWED_HOSTS", "footnote.example:8000", "without scheme and port"),
        ("FOOTNOTE_SERVER__CORS_ORIGINS", "https://ok.example,https://app.example/path", "an origin is"),
        ("FOOTNOTE_DATABASE__URL", "mysql://u@h/d", "must start with postgresql://"),
        ("FOOTNOTE_LLM__PROVIDER", "clippy", "'openai', 'openai_like', 'vllm'"),
        ("FOOTNOTE_LLM__TOTAL_TIMEOUT", "nan", "less than or equal to 3600"),
        ("FOOTNOTE_RETRIEVAL__MIN_SCORE", "1.1", "less than or equal to 1"),
        ("FOOTNOTE_INGESTION__LANGUAGE", "english'; DROP", "pattern"),
    ],
)
def test_an_invalid_value_is_one_line_that_names_the_key(
    name: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert reason in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "name", ["DATABASE__PASSWORD_FILE", "AUTH__JWT_JWKS_FILE", "LLM__TOKENIZER", "EMBEDDING__TOKENIZER"]
)
def test_a_file_that_is_none_is_told_with_its_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, said in ((tmp_path / "nowhere", f"there is no file {tmp_path}/nowhere"), (tmp_path, "is a folder")):
        monkeypatch.setenv(f"FOOTNOTE_{name}", str(path))
        with pytest.raises(SettingsError, match=f"^FOOTNOTE_{name}: .*{said}") as caught:
            load_settings()
        assert str(path) in str(caught.value)


def test_a_data_directory_that_is_a_file_or_below_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path in ("file", "file/below"):
        monkeypatch.setenv("FOOTNOTE_DATA_DIR", str(tmp_path / path))
        with pytest.raises(SettingsError, match=f"^FOOTNOTE_DATA_DIR: {tmp_path}/file is no folder"):
            load_settings()
    for path in ("folder", "folder/to/be/made"):
        monkeypatch.setenv("FOOTNOTE_DATA_DIR", str(tmp_path / path))
        assert load_settings().data_dir == tmp_path / path


def test_fewer_connections_than_the_usual_least_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOTNOTE_DATABASE__POOL_MAX", "1")
    assert load_settings().database.pool_max == 1


def test_several_invalid_values_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOTNOTE_SERVER__PORT", "x")
    monkeypatch.setenv("FOOTNOTE_DATABASE__POOL_MAX", "0")
    with pytest.raises(SettingsError, match=r"\(and 1 more\)"):
        load_settings()


def test_origins_have_commas_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOTNOTE_SERVER__CORS_ORIGINS", "https://app.example, http://localhost:3000,")
    assert load_settings().server.cors_origins == ("https://app.example", "http://localhost:3000")


def test_secrets_appear_nowhere_but_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOTNOTE_DATABASE__URL", "postgresql://u:hunter2@h/d")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hunter2")
    settings = load_settings()
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert settings.database.url
    assert settings.database.url.get_secret_value() == "postgresql://u:hunter2@h/d"


def test_secrets_do_not_appear_in_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOTNOTE_DATABASE__URL", "hunter2://u:hunter2@h/d")
    monkeypatch.setenv("FOOTNOTE_LLM__API_KEY", "sk-hunter2")
    monkeypatch.setenv("FOOTNOTE_SERVER__PORT", "hunter2")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "hunter2" not in f"{caught.value!r} {caught.value} {caught.value.__context__}"
    assert caught.value.__suppress_context__


def test_settings_cannot_be_changed() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.data_dir = Path("elsewhere")  # type: ignore[misc]
    with pytest.raises(ValidationError):
        settings.server.port = 1  # type: ignore[misc]


def test_overrides_go_before_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FOOTNOTE_DATA_DIR", "elsewhere")
    assert load_settings(data_dir=tmp_path).data_dir == tmp_path


def test_every_setting_is_described_and_can_be_set_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, _, description, default in setting_keys():
        assert description.endswith("."), name
        if default not in (None, ()):
            shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
            monkeypatch.setenv(name, shown.lower() if isinstance(default, bool) else shown)
    assert load_settings() == Settings.model_construct()


@pytest.mark.parametrize(
    ("script", "page"),
    [("scripts/example_env.py", "config/example.env"), ("scripts/configuration_page.py", "docs/configuration.md")],
)
def test_pages_made_from_the_settings_are_up_to_date(script: str, page: str) -> None:
    made = subprocess.run([sys.executable, ROOT / script], capture_output=True, text=True, check=True)
    assert made.stdout == (ROOT / page).read_text(), f"run `make format`, or: python {script} > {page}"


def test_the_example_file_can_be_used_with_every_line_uncommented(env_file: EnvFile, tmp_path: Path) -> None:
    env_file()
    lines = (ROOT / "config/example.env").read_text().splitlines()
    uncommented = [
        line.removeprefix("#") for line in lines if line.startswith(("#FOOTNOTE_", "#DATABASE", "#O", "#REDIS"))
    ]
    assert len(uncommented) == len(list(setting_keys())) + len(FALLBACKS)
    (tmp_path / ".env").write_text("\n".join(uncommented))
    assert load_settings() == Settings.model_construct()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@host:fifty/db",
        "postgresql://u:p@[::1/db",
        "postgresql://u:p@h:99999/db",
        "postgresql://u:p@h:1,h2:99999/db",
        "postgresql://u:p@ss@h/db",
        "postgresql://u:12/34@h/db",
        "postgresql://u:12?34@h/db",
        "postgresql://u:12#34@h/db",
        "postgresql://h/db?sslmode",
    ],
)
def test_a_database_address_that_cannot_be_read_is_told_without_its_password(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTNOTE_DATABASE__URL", url)
    with pytest.raises(SettingsError, match="host or a port that cannot be read") as caught:
        load_settings()
    assert url not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:p%40@a:1,b,[::1]:3/db?target_session_attrs=read-write", "postgresql:///d?host=/a,/b&port=1,2"],
)
def test_a_database_address_may_name_several_hosts(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOTNOTE_DATABASE__URL", url)
    assert load_settings().database.url is not None


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"DIRECT_URL": "postgresql://u@h/d"}, "DIRECT_URL needs URL beside it"),
        ({"URL": "postgresql://u:p@h/d", "PASSWORD_FILE": "secret"}, "PASSWORD_FILE or a password in URL, not both"),
        ({"URL": "postgresql://u@h/d", "PASSWORD_FILE": "empty"}, "PASSWORD_FILE: .*empty is empty"),
        ({"POOL_MIN": "13"}, r"POOL_MIN \(13\) is more than POOL_MAX \(12\)"),
    ],
)
def test_settings_of_the_database_that_do_not_fit_are_told(
    given: dict[str, str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("s3cret")
    (tmp_path / "empty").touch()
    for name, value in given.items():
        file = str(tmp_path / value) if name.endswith("_FILE") else value
        monkeypatch.setenv(f"FOOTNOTE_DATABASE__{name}", file)
    with pytest.raises(SettingsError, match=reason):
        load_settings()
