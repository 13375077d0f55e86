"""What the programs load where an export of the embedding model is there: nothing that makes one, nothing idle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support.stack import PATIENCE

ROOT = Path(__file__).parents[3]
HEAVY = ("torch", "transformers", "sentence_transformers", "scipy", "matplotlib", "redis", "ray", "mcp", "trafilatura")
TELL = f"""
print(json.dumps([name for name in {HEAVY} if name in sys.modules]), flush=True)
sys.exit(code)
"""
SERVER = "import json, sys\nfrom server.__main__ import main\ncode = main()" + TELL
INGESTION = "import json, sys\nfrom ingestion.__main__ import main\ncode = main(sys.argv[1:])" + TELL


def test_a_server_answers_from_an_export_with_no_library_that_makes_one(stack):
    with stack.process(program=("-c", SERVER), forked=False) as process:
        with httpx.Client(base_url=process.url, timeout=PATIENCE) as client:
            assert client.get("/ready").status_code == 200
            answer = client.post("/query", json={"question": "Who built the lighthouse of Ostrava Bay?"})
        assert answer.status_code == 200
        assert answer.json()["citations"]
        process.signal(signal.SIGTERM)
        told, _ = process.popen.communicate(timeout=PATIENCE * 2)
    assert json.loads(told.splitlines()[-1]) == []
    assert process.popen.returncode == 0


@pytest.mark.usefixtures("embedder")  # the export
def test_a_file_is_indexed_with_no_library_that_makes_one(dsn, shared_dir, tmp_path):
    (tmp_path / "lighthouse.md").write_text("# Lighthouse\n\nIt was built in 1871.\n")
    done = subprocess.run(
        [sys.executable, "-c", INGESTION, str(tmp_path / "lighthouse.md"), "--json"],
        cwd=ROOT,
        env={**os.environ, "FOOTNOTE_DATA_DIR": str(shared_dir), "FOOTNOTE_DATABASE__URL": dsn},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *_, report, told = done.stdout.splitlines()
    assert json.loads(report)["chunks"]["written"] == 1
    assert json.loads(told) == []
