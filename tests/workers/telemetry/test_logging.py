"""Log lines: one JSON object each, with the job's context, and never the text of an exception."""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import dramatiq
import pytest

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.telemetry import context as telemetry_context
from penstock.workers.telemetry.context import bind_jobs, note_of_job, unbind_jobs
from penstock.workers.telemetry.logging import CONTEXT, JsonFormatter, Sampling, TextFormatter, is_sampled

SECRET = "my-very-private-answer"


@pytest.fixture(autouse=True)
def nothing_said_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests run brokers and servers in this process, which say what it is."""
    monkeypatch.setattr(telemetry_context, "_process", {})


def record(
    message: str, *arguments: object, level: int = logging.INFO, logger: str = "penstock.test", **extra: Any
) -> logging.LogRecord:
    return logging.getLogger(logger).makeRecord(logger, level, "f", 1, message, arguments, None, extra=extra)


def told(made: logging.LogRecord) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(JsonFormatter().format(made))
    return found


def failed_record() -> logging.LogRecord:
    try:
        int(SECRET)
    except ValueError:
        made = record("the job failed", level=logging.ERROR)
        made.exc_info = sys.exc_info()
        return made


def test_a_line_is_an_object_with_its_context() -> None:
    context = {name: f"value of {name}" for name in CONTEXT}
    line = json.loads(JsonFormatter().format(record("%d rows", 3, **context)))
    assert datetime.fromisoformat(line.pop("at")).tzinfo is not None
    assert line == {"level": "info", "logger": "penstock.test", "message": "3 rows"} | context


def test_what_is_no_context_is_left_out() -> None:
    assert SECRET not in JsonFormatter().format(record("m", answers=SECRET))


@pytest.mark.parametrize("message", ["two\nlines", 'a "quote"', "ünïcode \u2028", "\x00\x1b[31m"], ids=ascii)
def test_a_line_stays_one_line(message: str) -> None:
    line = JsonFormatter().format(record("%s", message))
    assert len(line.splitlines()) == 1
    assert json.loads(line)["message"] == message


def test_an_exception_is_told_by_type_and_place_alone() -> None:
    line = JsonFormatter().format(failed_record())
    found = json.loads(line)
    assert found["error"] == "ValueError"
    assert "failed_record" in found["stack"][-1]
    assert SECRET not in line


def test_a_person_reads_one_line_without_the_exceptions_text() -> None:
    line = TextFormatter().format(failed_record())
    assert "error: the job failed  ValueError" in line
    assert SECRET not in line
    assert "batch_id=b-1" in TextFormatter().format(record("m", batch_id="b-1"))


SCRIPT = """
import logging, sys
from penstock.workers.telemetry.logging import set_up_logging
set_up_logging("warning", sys.argv[1])
logging.getLogger("penstock").info("not told")
logging.getLogger("dramatiq.worker").info("not told either")
logging.getLogger("penstock").warning("told")
"""


@pytest.mark.parametrize("style", ["json", "text"])
def test_lines_go_to_standard_error_from_the_level_on(style: str) -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT, style], check=True, capture_output=True, text=True)
    assert run.stdout == ""
    (line,) = run.stderr.splitlines()
    assert (json.loads(line)["message"] == "told") if style == "json" else line.endswith("warning: told")


@pytest.fixture
def jobs() -> Iterator[dict[str, dict[str, Any]]]:
    """Two jobs of a delivery of this thread."""
    bound = {name: {"job_id": name, "kind": "k", "queue": "posts", "trace_id": f"t-{name}"} for name in ("a", "b")}
    token = bind_jobs(bound)
    yield bound
    unbind_jobs(token)


def test_a_line_below_an_actor_says_which_job_it_is_about(jobs: dict[str, dict[str, Any]]) -> None:
    note_of_job("a", batch_id="b-1")
    line = told(record("m", job_id="a", code="X"))
    assert (line["trace_id"], line["batch_id"], line["kind"], line["code"]) == ("t-a", "b-1", "k", "X")
    # Of a group nobody can say which one it is about.
    shared = told(record("m"))
    assert (shared["kind"], shared["queue"], shared["jobs"], "job_id" in shared) == ("k", "posts", 2, False)
    jobs.pop("b")
    assert told(record("m"))["job_id"] == "a"
    # What a call says itself comes last.
    assert told(record("m", kind="other"))["kind"] == "other"


def test_what_is_known_of_jobs_is_asked_for_once_and_only_where_a_line_tells_it() -> None:
    asked: list[str] = []

    def make() -> dict[str, dict[str, Any]]:
        asked.append("once")
        return {"a": {"job_id": "a", "kind": "k", "queue": "q"}}

    token = bind_jobs(make)
    unbind_jobs(token)
    assert asked == []
    token = bind_jobs(make)
    note_of_job("a", batch_id="b-1")
    assert [told(record("m"))["batch_id"] for _ in range(2)] == ["b-1", "b-1"]
    unbind_jobs(token)
    assert asked == ["once"]


def test_other_threads_and_later_lines_know_nothing_of_it() -> None:
    seen: list[dict[str, Any]] = []
    token = bind_jobs({"a": {"job_id": "a", "kind": "k", "queue": "q"}})
    thread = threading.Thread(target=lambda: seen.append(told(record("m"))))
    thread.start()
    thread.join()
    unbind_jobs(token)
    seen.append(told(record("m")))
    assert [line.get("job_id") for line in seen] == [None, None]


def test_the_share_of_good_ends_is_the_same_everywhere_and_failures_are_always_told() -> None:
    ids = [f"job-{number}" for number in range(10_000)]
    chosen = {one for one in ids if is_sampled(one, 0.1)}
    assert 800 < len(chosen) < 1_200
    sampling = Sampling(0.1)
    assert {one for one in ids if sampling.filter(record("m", job_id=one, outcome="done"))} == chosen
    left_out = next(one for one in ids if one not in chosen)
    assert sampling.filter(record("m", job_id=left_out, outcome="dead", level=logging.WARNING))
    assert sampling.filter(record("m", job_id=left_out, outcome="postpone"))
    assert sampling.filter(record("no job"))
    assert not any(Sampling(0).filter(record("m", job_id=one, outcome="done")) for one in ids)


@pytest.mark.parametrize("logger", ["penstock.test", "psycopg.pool", "dramatiq.worker.WorkerThread"])
def test_an_exception_among_the_arguments_is_told_by_its_type(logger: str) -> None:
    line = told(record("failed: %s", ValueError(SECRET), logger=logger))
    assert line["message"] == "failed: ValueError"
    ours = told(record("failed: %(error)s", {"error": PenstockError(Code.INTERNAL_ERROR, "as it is")}, logger=logger))
    assert ours["message"] == "failed: as it is"


def test_of_other_peoples_loggers_objects_are_told_by_type_and_texts_by_their_first_line() -> None:
    message: Any = dramatiq.Message("q", "actor", (SECRET,), {}, {})
    line = told(record("Failed to process message %s with unhandled exception.", message, logger="dramatiq.worker"))
    assert line["message"] == "Failed to process message <Message> with unhandled exception."
    behind = f"Task exception was never retrieved\nfuture: <Task exception=ValueError('{SECRET}')>"
    assert told(record(behind, logger="asyncio"))["message"] == "Task exception was never retrieved"
    assert SECRET not in TextFormatter().format(record(behind, logger="asyncio"))


SCRIPT_OF_FAULTS = f"""
import sys, threading, warnings, logging, structlog
from penstock.workers.telemetry.logging import set_up_logging
set_up_logging("info", share=0, process="worker")
log = structlog.get_logger("penstock.bound")
structlog.contextvars.bind_contextvars(request_id="r-1", answer="{SECRET}")
log.info("bound", kind="k", text="{SECRET}")
warnings.warn("{SECRET}")
thread = threading.Thread(target=lambda: int("{SECRET}"))
thread.start()
thread.join()
logging.getLogger("penstock").info("sampled away", extra={{"job_id": "j", "outcome": "done"}})
raise KeyError("{SECRET}")
"""


def test_what_nobody_caught_is_told_by_type_and_place() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT_OF_FAULTS], check=False, capture_output=True, text=True)
    assert run.returncode == 1
    lines = [json.loads(line) for line in run.stderr.splitlines()]
    bound, warned, in_thread, uncaught = lines
    assert (bound["message"], bound["kind"], bound["request_id"], bound["process"]) == ("bound", "k", "r-1", "worker")
    assert warned["message"].startswith("UserWarning at ")
    assert [in_thread["error"], uncaught["error"]] == ["ValueError", "KeyError"]
    # A line of the source can hold what the script itself says.
    assert SECRET not in json.dumps([line | {"stack": None} for line in lines])
