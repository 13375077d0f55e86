"""The contributor's map names files and folders that exist, and leaves out no folder."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
NAMED = re.findall(r"`((?:[a-z_]+/)+(?:[\w.-]+\.\w+)?)`", PAGE.read_text())


@pytest.mark.parametrize("name", sorted(set(NAMED)))
def test_what_the_map_names_exists(name: str) -> None:
    path = ROOT / name
    assert path.is_dir() if name.endswith("/") else path.is_file()


@pytest.mark.parametrize("package", ["config", "storage", "embedding", "ingestion", "server", "server/engines"])
def test_every_folder_is_on_the_map(package: str) -> None:
    folders = {
        f"{path.relative_to(ROOT)}/"
        for path in (ROOT / package).iterdir()
        if path.is_dir() and path.name != "__pycache__" and any(path.glob("*.py"))
    }
    assert folders <= set(NAMED)


def test_links_of_the_map_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", PAGE.read_text())
    assert targets
    assert [target for target in targets if not (PAGE.parent / target).exists()] == []
