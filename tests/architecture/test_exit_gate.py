"""No statement reads passages of a table of chunks but through the documents, whose policy decides (ADR 0019)."""

import ast
import re
from pathlib import Path

import pytest

CHUNKS = re.compile(r"\{[^{}]*(?:_table|\btable|qualified|_readable|\breadable|readable\()[^{}]*\}")
"""How a statement names a table of chunks."""
GATE = re.compile(r"footnote\.documents|readable|_gate|GATE")
PASSAGE = re.compile(r"\b(?:c\.|part\.)?(?:text|metadata_|embedding|node_id|\*)(?![\w(])|SELECT \*|_COLUMNS|COLUMNS")
"""What of a chunk is a passage."""

INNER = {
    # parts of the search's statement, whose last select passes the gate
    "storage/search/statement.py": {"_matching", "_dense", "_fused", "_sql"},
    "storage/search/lexical_leg.py": {"parts"},
    # indexes, counts and words of the lexicon leave no passage
    "storage/chunk_tables.py": {"create", "has_fewer", "build_index", "analyze", "_create_index"},
    "storage/search/lexicon.py": {"<module>", "keep_up", "_count"},
    "storage/search/rewording.py": {"<module>", "step"},
    # writes, within a writer's transaction
    "storage/documents/rows.py": {"_put"},
    "storage/vector_store.py": {"_delete_nodes"},
    "storage/node_writes.py": {"_require_own"},  # ids alone, to refuse one that another document has
}
"""Functions whose statements were read, and let no passage out of the database."""


def statements(path):
    """Yield each string of a module that names a table of chunks, with the function that it is in."""
    source = path.read_text()

    def walk(node, function):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.JoinedStr) or (isinstance(child, ast.Constant) and isinstance(child.value, str)):
                text = ast.get_source_segment(source, child) or ""
                if CHUNKS.search(text) and re.search(r"\b(?:SELECT|FROM|JOIN|COPY)\b", text):
                    yield function, text
                continue
            inner = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
            yield from walk(child, inner)

    yield from walk(ast.parse(source), "<module>")


def offenders(path, name):
    return [
        (function, text)
        for function, text in statements(path)
        if PASSAGE.search(text) and not GATE.search(text) and function not in INNER.get(name, set())
    ]


def test_every_passage_leaves_through_the_documents():
    found = 0
    for path in sorted(Path("storage").rglob("*.py")):
        found += sum(1 for _ in statements(path))
        assert not offenders(path, path.as_posix()), path
    assert found >= 15


def test_only_storage_names_tables_of_chunks():
    for folder in ("server", "ingestion", "embedding", "relevance", "evaluation"):
        for path in Path(folder).rglob("*.py"):
            assert not re.search(r"data_generation_|chunk_tables\.(?:qualified|table_name)", path.read_text()), path


def test_the_search_s_own_statement_ends_at_the_gate():
    text = Path("storage/search/statement.py").read_text()
    last = text[text.index("SELECT {COLUMNS}") :][:600]
    assert "JOIN footnote.documents d ON {chunk_tables.GATE" in last


@pytest.mark.parametrize(
    "text",
    [
        'f"SELECT text FROM {self._table} WHERE id = $1"',
        'f"SELECT c.node_id, c.text FROM {chunk_tables.qualified(1)} c"',
        'f"SELECT * FROM {table}"',
    ],
)
def test_a_statement_without_the_gate_is_seen(tmp_path, text):
    module = tmp_path / "module.py"
    module.write_text(f"def read(self, table):\n    return {text}\n")
    assert offenders(module, "module.py")


def test_the_scope_of_all_tenants_is_storage_s_alone():
    pattern = re.compile(
        r"\bSYSTEM\b.*storage\.caller|storage\.caller import [^\n]*\bSYSTEM\b|for_all_tenants|footnote\.system"
    )
    for folder in ("server", "ingestion", "embedding", "relevance", "evaluation", "benchmarks"):
        for path in Path(folder).rglob("*.py"):
            assert not pattern.search(path.read_text()), path
