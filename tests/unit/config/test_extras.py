import subprocess
import sys
from pathlib import Path

import pytest

from config import extras
from config.extras import ExtraMissing, require_extra

ROOT = Path(__file__).parents[3]

WITHOUT_SCIPY = """
import sys
from importlib.machinery import PathFinder

class Hidden(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "scipy" else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hidden
from evaluation.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_an_extra_that_is_installed_is_enough() -> None:
    require_extra("evaluation", purpose="this test")


def test_a_missing_module_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "MODULES", {"evaluation": ("json", "no_such_module")})
    with pytest.raises(ExtraMissing, match=r"--gate needs .* `evaluation`, and no_such_module .*make install"):
        require_extra("evaluation", purpose="--gate")


def test_a_program_whose_extra_is_missing_says_so_in_one_line() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_SCIPY, "compare", "a.json", "b.json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: python -m evaluation needs Footnote's extra `evaluation`, and scipy")
    assert ran.stderr.count("\n") == 1
