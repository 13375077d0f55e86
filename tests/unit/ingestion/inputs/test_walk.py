import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ingestion.inputs.walk import find_files
from ingestion.names import source_name
from ingestion.types import Skipped


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text")
    return root


def found(*paths: Path | str, root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in find_files([str(p) for p in paths]) if isinstance(path, Path)]


def skipped(*paths: Path | str) -> dict[str, str]:
    return {item.path.name: item.reason for item in find_files([str(p) for p in paths]) if isinstance(item, Skipped)}


def test_a_folder_stands_for_all_files_below_it_in_a_fixed_order(tmp_path: Path) -> None:
    tree(tmp_path, "b.md", "a.md", "z/c.md", "m/d/e.txt", "README")
    assert found(tmp_path, root=tmp_path) == ["README", "a.md", "b.md", "m/d/e.txt", "z/c.md"]


def test_hidden_files_and_folders_are_left_out_unless_named(tmp_path: Path) -> None:
    tree(tmp_path, "a.md", ".hidden.md", ".git/config.md")
    assert found(tmp_path, root=tmp_path) == ["a.md"]
    assert found(tmp_path / ".git", tmp_path / ".hidden.md", root=tmp_path) == [".git/config.md", ".hidden.md"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("docs/**/*.md", ["docs/a.md", "docs/x/b.md", "docs/x/y/c.md"]),
        ("docs/*.md", ["docs/a.md"]),
        ("docs/*/b.md", ["docs/x/b.md"]),
        ("docs/x*", ["docs/x/b.md", "docs/x/y/c.md", "docs/x/y/d.txt"]),
        ("docs/**", ["docs/a.md", "docs/x/b.md", "docs/x/y/c.md", "docs/x/y/d.txt"]),
        ("docs/[ab].md", ["docs/a.md"]),
        ("docs/**/y/?.txt", ["docs/x/y/d.txt"]),
    ],
)
def test_a_pattern_that_the_shell_left_alone_is_expanded(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    tree(tmp_path, "docs/a.md", "docs/x/b.md", "docs/x/y/c.md", "docs/x/y/d.txt", "docs/.h/e.md", "other.md")
    assert found(tmp_path / pattern, root=tmp_path) == expected


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    tree(tmp_path, "[ab].md", "a.md")
    assert found(tmp_path / "[ab].md", root=tmp_path) == ["[ab].md"]


def test_a_pattern_that_matches_nothing_and_a_path_that_is_not_there_are_reported(tmp_path: Path) -> None:
    assert skipped(tmp_path / "*.md", tmp_path / "gone") == {
        "*.md": "nothing matches this pattern",
        "gone": "there is no such file or folder",
    }


def test_a_file_named_twice_comes_once(tmp_path: Path) -> None:
    tree(tmp_path, "d/a.md")
    (tmp_path / "link.md").symlink_to(tmp_path / "d/a.md")
    paths = [tmp_path / "d/a.md", tmp_path, tmp_path / "d", tmp_path / "link.md"]
    assert found(*paths, root=tmp_path) == ["d/a.md"]


def test_links_to_folders_are_not_followed_and_circles_end(tmp_path: Path) -> None:
    tree(tmp_path, "d/a.md")
    (tmp_path / "d/up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert found(tmp_path, root=tmp_path) == ["d/a.md"]
    assert found(tmp_path / "**/*.md", root=tmp_path) == ["d/a.md"]
    assert skipped(tmp_path) == {
        "up": "a symbolic link to a folder; these are not followed",
        "self": "a symbolic link that leads nowhere, or in a circle",
    }


def test_a_link_out_of_the_folder_is_not_followed_unless_it_is_named(tmp_path: Path) -> None:
    tree(tmp_path, "in/a.md", "secret/key.md")
    (tmp_path / "in/out.md").symlink_to(tmp_path / "secret/key.md")
    assert found(tmp_path / "in", root=tmp_path) == ["in/a.md"]
    assert "leads out" in skipped(tmp_path / "in")["out.md"]
    assert found(tmp_path / "in/out.md", root=tmp_path) == ["in/out.md"]


def test_files_of_a_mounted_volume_are_found_though_their_targets_are_hidden(tmp_path: Path) -> None:
    tree(tmp_path, "..2026/a.md")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "a.md").symlink_to("..data/a.md")
    assert found(tmp_path, root=tmp_path) == ["a.md"]


def test_what_is_no_file_is_left_out_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "sock"))
        assert skipped(tmp_path) == {"pipe": "a named pipe, no file", "sock": "a socket, no file"}
        assert skipped(tmp_path / "pipe", "/dev/null") == {"pipe": "a named pipe, no file", "null": "a device, no file"}


def test_kinds_without_a_reader_are_left_out_with_the_reason(tmp_path: Path) -> None:
    tree(tmp_path, "a.svg", "b.zip", "c.strange", "d.doc", "e.md")
    reasons = skipped(tmp_path)
    assert reasons == skipped(*(tmp_path / name for name in ("a.svg", "b.zip", "c.strange", "d.doc")))
    assert reasons["a.svg"] == "an image of a kind that is not read"
    assert reasons["c.strange"] == "there is no reader for .strange files"
    assert set(reasons) == {"a.svg", "b.zip", "c.strange", "d.doc"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_reported(tmp_path: Path) -> None:
    tree(tmp_path, "locked/a.md", "b.md")
    (tmp_path / "locked").chmod(0)
    try:
        assert found(tmp_path, root=tmp_path) == ["b.md"]
        assert skipped(tmp_path) == {"locked": "no permission to read it"}
    finally:
        (tmp_path / "locked").chmod(0o755)


def test_files_come_before_the_search_has_ended(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.md", "b/2.md")
    search = find_files([str(tmp_path)])
    assert next(search) == tmp_path / "a/1.md"
    tree(tmp_path, "b/3.md")
    assert list(search) == [tmp_path / "b/2.md", tmp_path / "b/3.md"]


def test_folders_may_be_nested_deeper_than_python_calls(tmp_path: Path) -> None:
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        for _ in range(1100):
            Path("d").mkdir()
            os.chdir("d")
        Path("a.md").write_text("text")
        os.chdir(tmp_path)
        assert [item.name for item in find_files(["d"]) if isinstance(item, Path)] == ["a.md"]
    finally:
        os.chdir(here)
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_a_name_of_odd_bytes_is_found_and_can_be_shown(tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"new\nline\xff\x1b[31m.md")  # noqa: PTH118 (bytes)
    with open(path, "wb") as file:  # noqa: PTH123 (bytes)
        file.write(b"text")
    (item,) = find_files([str(tmp_path)])
    assert isinstance(item, Path)
    shown = source_name(item)
    assert shown.endswith(r"new\nline\xff\x1b[31m.md")
    assert shown.encode()
    assert shown.isprintable()


def test_searching_and_parsing_import_no_heavy_library() -> None:
    program = (
        "import sys, ingestion.inputs.walk, ingestion.readers.process_pool\n"
        "heavy = {'trafilatura', 'llama_index', 'nltk', 'pypdfium2', 'lxml', 'markdown_it'}\n"
        "heavy |= {'tokenizers', 'numpy', 'openpyxl', 'html_to_markdown', 'charset_normalizer'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
