"""The container files, as far as they can be checked without an engine."""

import fnmatch
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.environment import FALLBACKS, PREFIX
from config.settings import setting_keys

ROOT = Path(__file__).resolve().parents[2]
KNOWN = {name for name, *_ in setting_keys()} | set(FALLBACKS)


def instructions(kind: str) -> list[str]:
    """Return the arguments of the Dockerfile's instructions of a kind, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [line.removeprefix(kind).strip() for line in text.splitlines() if line.startswith(f"{kind} ")]


def copied() -> list[str]:
    return [source for line in instructions("COPY") if "--from" not in line for source in line.split()[:-1]]


def ignored(path: str) -> bool:
    """Say whether ``.dockerignore`` leaves a path out: the last pattern that matches it, or a parent of it, decides."""
    out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        parts = [part for part in (Path(path), *Path(path).parents) if part != Path()]
        names = [part.name if pattern.startswith("**/") else str(part) for part in parts]
        if any(fnmatch.fnmatch(name, pattern.removeprefix("**/")) for name in names):
            out = not line.startswith("!")
    return out


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


@pytest.mark.parametrize("source", copied())
def test_what_the_dockerfile_copies_exists_and_reaches_the_builder(source: str) -> None:
    assert (ROOT / source).exists()
    assert not ignored(source)


@pytest.mark.parametrize("path", [".env", ".git/config", ".footnote/postgres/PG_VERSION", "server/__pycache__/app.pyc"])
def test_secrets_data_and_rubbish_do_not_reach_the_builder(path: str) -> None:
    assert ignored(path)


def test_every_package_of_ours_is_copied_into_the_image() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"benchmarks"}  # these stay outside
    assert packages == {"config", "relevance", "storage", "embedding", "ingestion", "server", "evaluation", "footnote"}
    assert packages <= set(copied())


def stages() -> dict[str, str]:
    """Return what each stage of the Dockerfile is built on, by its name."""
    return {name: base for base, name in (line.split(" AS ") for line in instructions("FROM"))}


def test_both_images_are_the_runtime_and_full_is_what_one_gets_who_names_no_target() -> None:
    assert list(stages())[-2:] == ["slim", "full"]
    assert stages()["slim"] == stages()["full"] == "runtime"


def test_what_installs_has_this_machines_settings_and_what_runs_has_not() -> None:
    assert stages()["runtime"] == "${PYTHON}"
    assert stages()["installer"] == stages()["code"] == "${BUILDER}"


def test_the_compose_file_builds_targets_of_the_dockerfile(compose: dict[str, Any]) -> None:
    for service in ("server", "migrate", "worker"):
        assert compose["services"][service]["build"]["target"] == "${IMAGE_TARGET:-full}"


def test_the_image_runs_as_a_numeric_user_that_is_not_root() -> None:
    (user,) = instructions("USER")
    uid, gid = map(int, user.split(":"))
    assert uid > 0
    assert gid > 0


def test_settings_named_in_the_dockerfile_exist() -> None:
    named = set(re.findall(rf"{PREFIX}[A-Z_]+", (ROOT / "Dockerfile").read_text()))
    assert named
    assert named <= KNOWN


def test_the_health_check_is_python_that_compiles_and_asks_health() -> None:
    (check,) = instructions("HEALTHCHECK")
    command = json.loads(check[check.index("[") :])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "HEALTHCHECK", "exec")
    assert "/health" in command[2]


def test_settings_named_in_the_compose_file_exist(compose: dict[str, Any]) -> None:
    named = {
        name
        for service in compose["services"].values()
        for name in service.get("environment", {})
        if not name.startswith("POSTGRES_")
    }
    assert named
    assert named <= KNOWN
    interpolated = set(re.findall(rf"\$\{{({PREFIX}\w+)", (ROOT / "docker-compose.yml").read_text()))
    assert interpolated <= KNOWN  # a .env that sets one of these is read by Footnote too, which refuses strangers


def test_no_password_stands_in_the_compose_file(compose: dict[str, Any]) -> None:
    assert compose["services"]["postgres"]["environment"]["POSTGRES_PASSWORD"].startswith("${POSTGRES_PASSWORD:?")
    for service in ("server", "migrate"):
        url = compose["services"][service]["environment"]["FOOTNOTE_DATABASE__URL"]
        assert url.startswith("postgresql://footnote:${POSTGRES_PASSWORD:?")


def test_ports_are_open_to_this_machine_only(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith(("127.0.0.1:", "${BIND_ADDRESS:-127.0.0.1}:")) for port in ports)


@pytest.mark.parametrize("service", ["server", "migrate"])
def test_our_containers_give_up_what_they_do_not_need(service: str, compose: dict[str, Any]) -> None:
    ours = compose["services"][service]
    assert ours["read_only"] is True
    assert ours["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in ours["security_opt"]
