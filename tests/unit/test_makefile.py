"""What `make ingest` runs, and what counts as its failure."""

import os
import shutil
import subprocess

import pytest
from support.programs import ROOT

PYTHON = """#!/bin/sh
echo "$@"
case "$*" in *ingestion*) exit "$STATUS" ;; esac
"""


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(("status", "expected"), [(0, 0), (3, 0), (1, 2), (4, 2)])
def test_make_ingest_takes_options_and_fails_unless_files_were_only_skipped(tmp_path, status, expected):
    binaries = tmp_path / "environment" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").write_text(PYTHON)
    (binaries / "python").chmod(0o755)
    (tmp_path / "venv").symlink_to(tmp_path / "environment")  # so that nothing is installed into it
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", "ingest", "FILES=notes a.md", "COLLECTION=mine", "ARGS=--sync --yes", f"VENV={tmp_path / 'venv'}"],
        cwd=ROOT,
        env=clean | {"STATUS": str(status)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == expected, done.stderr
    assert done.stdout.splitlines() == ["-m storage upgrade", "-m ingestion notes a.md --collection mine --sync --yes"]
