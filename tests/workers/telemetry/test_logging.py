"""Log lines: one JSON object each, with the job's context, and never the text of an exception."""

import json
import logging
import subprocess
import sys
from datetime import datetime
from typing import Any

import pytest

from penstock.workers.telemetry.logging import CONTEXT, JsonFormatter, TextFormatter

SECRET = "my-very-private-answer"


def record(message: str, *arguments: object, level: int = logging.INFO, **extra: Any) -> logging.LogRecord:
    return logging.getLogger("penstock.test").makeRecord(
        "penstock.test", level, "f", 1, message, arguments, None, extra=extra
    )


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
    told = json.loads(line)
    assert told["error"] == "ValueError"
    assert "failed_record" in told["stack"][-1]
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
