"""``python -m evaluation`` over a real database and a real server."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

import pytest
from support.indexed import index
from support.model_server import Reply

from config.settings import DatabaseSettings, load_settings
from evaluation import __main__ as program
from evaluation import small
from evaluation.__main__ import main
from evaluation.results import read_result
from relevance.judging import holds
from relevance.reading import read_golden
from storage.database import Database

BUSY = "the server answers 503: busy"
GOLDEN = [
    {"question": "Who built the lighthouse?", "documents": ["lighthouse.md"], "answers": ["Milada Novak"]},
    {"question": "How long does sourdough rise?", "documents": ["bread.md"], "answer": "Twelve hours."},
    {"question": "zebra xylophone quartz", "unanswerable": True},
    {"question": "What is known of nothing that is right?"},
]
LONG = {
    name: f"The {name} of the harbour was painted {colour} by its keeper. " * 6
    for name, colour in {"tower": "red", "crane": "green", "bridge": "blue"}.items()
}


@pytest.fixture(autouse=True)
def _environment(stack, monkeypatch):
    """Let the command find the stack's database, and leave the logging of this process alone."""
    monkeypatch.setattr(program.logs, "configure", lambda _settings: None)
    monkeypatch.setenv("FOOTNOTE_DATABASE__URL", stack.dsn)
    monkeypatch.setenv("FOOTNOTE_DATA_DIR", str(stack.data_dir))
    monkeypatch.setenv("FOOTNOTE_LLM__PROVIDER", "extractive")
    monkeypatch.setenv("FOOTNOTE_INGESTION__NICE", "0")  # of this process, whose other tests are no ingestion
    stack.fresh()


@pytest.fixture
def golden(tmp_path):
    path = tmp_path / "golden.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in GOLDEN))
    return str(path)


@pytest.fixture
def _model(stack, monkeypatch):
    for name, value in {"PROVIDER": "openai_like", "BASE_URL": stack.model.openai_url, "MODEL": "m"}.items():
        monkeypatch.setenv(f"FOOTNOTE_LLM__{name}", value)


def test_a_running_server_is_asked_and_everything_is_written(stack, golden, tmp_path, capsys):
    files = [str(tmp_path / "run.json"), str(tmp_path / "run.html")]
    with stack.serve() as http:
        url = str(http.base_url)
        arguments = ["--url", url, "--engine", "hybrid,keyword", "--k", "3", "--json", files[0], "--html", files[1]]
        assert main(["run", golden, *arguments]) == 0
    run = read_result(Path(files[0]))
    hybrid, keyword = run.engines
    assert (run.asked, hybrid.engine, keyword.engine, hybrid.failed) == (url, "hybrid", "keyword", 0)
    assert hybrid.metrics["documents"]["mrr@3"].questions == 2
    assert hybrid.metrics["passages"]["hit@1"].mean == 1
    assert keyword.no_answer
    assert (keyword.no_answer.rate, keyword.no_answer.precision) == (1, 1)
    first = hybrid.questions[0]
    assert (first.found[0].source, first.found[0].right) == ("lighthouse.md", True)
    assert first.latency_ms >= first.timings_ms["retrieve"] > 0
    assert "Who built the lighthouse?" in Path(files[1]).read_text()
    assert "hybrid → keyword" in capsys.readouterr().out
    assert not stack.model.requests  # to find is not to ask a model


def test_two_runs_are_compared(stack, golden, tmp_path, capsys):
    first, second = (str(tmp_path / name) for name in ("first.json", "second.json"))
    with stack.serve() as http:
        for path, engine in ((first, "hybrid"), (second, "vector")):
            assert main(["run", golden, "--url", str(http.base_url), "--engine", engine, "--json", path]) == 0
    page = tmp_path / "compared.html"
    assert main(["compare", first, second, "--html", str(page), "--json", str(tmp_path / "compared.json")]) == 0
    assert "first.json: hybrid → second.json: vector" in capsys.readouterr().out
    assert "second.json: vector" in page.read_text()
    (found,) = json.loads((tmp_path / "compared.json").read_text())
    assert found["differences"]["documents"]["ndcg@10"]["p_value"] == 1


def test_a_floor_that_is_missed_is_said_and_ends_with_4(stack, golden, capsys):
    with stack.serve() as http:
        asked = ["run", golden, "--url", str(http.base_url), "--k", "1"]
        assert main([*asked, "--floor", "hit@1=0.5"]) == 0
        assert main([*asked, "--floor", "hit@1=0.5", "--floor", "no-answer-precision=1.01"]) == 4
    told = capsys.readouterr()
    assert "MISSED" in told.out
    assert "1 of 2 floors missed" in told.err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--engine", "hybrid,nonsense"], "nonsense: the server answers 422: mode 'nonsense' is not known"),
        (["--collection", "missing"], "hybrid: the server answers 404"),
        (["--generation", "1"], "leave --url out"),
        (["--set", "retrieval.rrf_k=1"], "leave --url out"),
        (["--judge"], "no model is at hand, and --judge needs one: set FOOTNOTE_LLM__API_KEY"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_the_first_question(stack, golden, arguments, reason, capsys):
    with stack.serve() as http:
        assert main(["run", golden, "--url", str(http.base_url), *arguments]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "ftp://host", "nonsense"])
def test_a_server_that_is_not_there_is_named(golden, url, capsys):
    assert main(["run", golden, "--url", url]) == 2
    assert "http://127.0.0.1:" in capsys.readouterr().err


def test_a_server_that_fails_on_the_way_costs_questions_and_is_told(stack, golden, tmp_path, monkeypatch, capsys):
    from evaluation import asking

    real, asked = asking.ServerAsks.retrieve, []

    async def failing(self, body):
        asked.append(body)
        if len(asked) == 3:
            raise asking.QuestionFailed(BUSY)
        return await real(self, body)

    monkeypatch.setattr(asking.ServerAsks, "retrieve", failing)
    with stack.serve() as http:
        assert main(["run", golden, "--url", str(http.base_url), "--json", str(tmp_path / "run.json")]) == 1
    assert "1 questions got no result" in capsys.readouterr().err
    (hybrid,) = read_result(tmp_path / "run.json").engines
    assert (hybrid.failed, hybrid.questions[1].error) == (1, BUSY)
    assert hybrid.metrics["documents"]["ndcg@10"].questions == 1


@pytest.mark.usefixtures("_model")
def test_answers_are_judged_by_llamaindexs_evaluators(stack, golden, tmp_path, capsys):
    stack.fresh(default=Reply("4 YES"))
    with stack.serve() as http:
        assert main(["run", golden, "--url", str(http.base_url), "--judge", "--json", str(tmp_path / "run.json")]) == 0
    run = read_result(tmp_path / "run.json")
    assert run.judge == "m"
    (hybrid,) = run.engines
    assert {name: (each.mean, each.questions) for name, each in hybrid.judged.items()} == {
        "faithfulness": (1, 2),  # of the questions for which something was found
        "relevancy": (1, 2),
        "correctness": (4, 2),  # where there is something to compare with
    }
    assert hybrid.questions[0].answer
    assert hybrid.questions[0].answer.text == "4 YES"
    assert "answers, judged by m" in capsys.readouterr().out


@pytest.mark.usefixtures("_model")
def test_a_judge_that_fails_leaves_answers_unjudged_and_the_run_goes_on(stack, golden, tmp_path, monkeypatch):
    monkeypatch.setenv("FOOTNOTE_LLM__MAX_RETRIES", "0")
    stack.fresh(default=Reply("no score in here"))
    with stack.serve(llm={"provider": "extractive"}) as http:
        stack.model.script(Reply(fault="server-error"))
        assert main(["run", golden, "--url", str(http.base_url), "--judge", "--json", str(tmp_path / "run.json")]) == 0
    (hybrid,) = read_result(tmp_path / "run.json").engines
    failures = [reason for each in hybrid.questions if each.answer for reason in each.answer.failures.values()]
    assert "the model gave no score" in failures
    assert len(failures) == 3
    assert "correctness" not in hybrid.judged


@pytest.mark.usefixtures("_model")
def test_questions_are_made_of_a_collections_own_passages_and_find_them_again(stack, tmp_path, monkeypatch, capsys):
    _on_a_thread(_index_long(stack))
    stack.fresh(*(Reply(f"1. Which {name} was painted?\n2. Why?") for name in ("first", "second", "third")))
    path = tmp_path / "made.jsonl"
    assert main(["make", "--collection", "harbour", "-o", str(path), "--questions", "3"]) == 0
    made = read_golden(path).questions
    assert {each.question for each in made} == {f"Which {name} was painted?" for name in ("first", "second", "third")}
    assert {next(iter(each.documents)) for each in made} == set(LONG)  # one of each document
    assert all((each.passages[0].start, each.passages[0].end) == (0, len(LONG[min(each.documents)])) for each in made)
    assert any(LONG["tower"][:40] in json.dumps(request.body) for request in stack.model.requests)

    monkeypatch.setenv("FOOTNOTE_LLM__PROVIDER", "extractive")
    run = tmp_path / "run.json"
    assert main(["run", str(path), "--collection", "harbour", "--set", "retrieval.rrf_k=5", "--json", str(run)]) == 0
    found = read_result(run)
    assert (found.asked, found.settings) == ("in this process", ["retrieval.rrf_k=5"])
    assert found.engines[0].metrics["passages"]["recall@10"].mean == 1
    assert main(["make", "--collection", "harbour", "-o", str(path)]) == 2
    assert "no model is at hand, and making questions needs one" in capsys.readouterr().err


@pytest.mark.usefixtures("_model")
def test_a_model_that_asks_nothing_makes_no_file(stack, tmp_path, capsys):
    stack.fresh(default=Reply("I would rather not."))
    path = tmp_path / "made.jsonl"
    assert main(["make", "--collection", "default", "-o", str(path), "--questions", "2"]) == 2
    assert "no question came out of" in capsys.readouterr().err
    assert not path.exists()


def test_an_older_generation_is_asked_in_place_of_the_one_that_answers(tmp_path, capsys):
    from ingestion.__main__ import main as ingest

    folder = tmp_path / "in"
    folder.mkdir()
    common = [str(folder), "--base", str(folder), "--collection", "twice"]
    (folder / "a.md").write_text("The mascot of the club is a heron.")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("config.logging.configure", lambda _settings: None)
        assert ingest(common) == 0
        (folder / "a.md").write_text("The mascot of the club is an otter.")
        assert ingest([*common, "--reindex"]) == 0
    golden = tmp_path / "golden.jsonl"
    golden.write_text(json.dumps({"question": "Which animal is the mascot?", "answers": ["heron"]}))
    for generation, expected in (("1", 1), ("2", 0)):
        run = tmp_path / f"run-{generation}.json"
        arguments = ["--collection", "twice", "--generation", generation, "--json", str(run)]
        assert main(["run", str(golden), *arguments]) == 0
        (hybrid,) = read_result(run).engines
        assert (hybrid.generation, hybrid.metrics["passages"]["hit@1"].mean) == (generation, expected)
    assert main(["run", str(golden), "--collection", "twice", "--generation", "7"]) == 2
    assert main(["run", str(golden), "--collection", "missing"]) == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.soak  # `make evaluate` does the same, and takes as long
@pytest.mark.skipif(not (small.ROOT / "docs").is_dir(), reason="not a checkout")
def test_the_small_set_finds_what_it_should(capsys):
    _on_a_thread(small.ingest(load_settings()))
    assert main(small.arguments()) == 0, capsys.readouterr().out


@pytest.mark.skipif(not (small.ROOT / "docs").is_dir(), reason="not a checkout")
@pytest.mark.parametrize("question", read_golden(small.GOLDEN).questions, ids=lambda question: question.question)
def test_a_page_still_holds_the_answer_that_the_small_set_expects_of_it(question):
    pages = [(small.ROOT / name).read_text() for name in question.documents]
    assert all(any(holds(page, answer) for answer in question.answers) for page in pages)


def _on_a_thread(work):
    with ThreadPoolExecutor(1) as pool:  # this thread's event loop is pytest's
        pool.submit(copy_context().run, asyncio.run, work).result()


async def _index_long(stack):
    database = await Database.open(stack.dsn, settings=DatabaseSettings())
    await index(database, stack.embedder, LONG, "harbour")
    await database.close()
