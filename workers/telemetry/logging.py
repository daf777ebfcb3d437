"""Logs on standard error: JSON lines for programs, text for a person."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Literal

#: Members that a log call may add through `extra`, so that lines of one job can be found.
CONTEXT = ("job_id", "kind", "tenant", "batch_id", "code", "attempt", "outcome", "seconds")


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; an exception is told by its type and stack, without its arguments."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in CONTEXT if hasattr(record, name)}
        if record.exc_info and record.exc_info[0] is not None:
            # An exception's text can quote what it choked on, and that can be an answer.
            line["error"] = record.exc_info[0].__name__
            line["stack"] = traceback.format_tb(record.exc_info[2])
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """One readable line; an exception is told by its type alone."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        context = {name: getattr(record, name) for name in ("batch_id", "code", "seconds") if hasattr(record, name)}
        told = "".join(f"  {name}={value}" for name, value in context.items())
        error = f"  {record.exc_info[0].__name__}" if record.exc_info and record.exc_info[0] else ""
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return f"{at} {level}{record.getMessage()}{told}{error}"


def set_up_logging(level: str, style: Literal["json", "text"] = "json") -> None:
    """Log everything from `level` on, as JSON lines or as text."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # dramatiq tells every message at debug, and ours are told by the job log.
    logging.getLogger("dramatiq").setLevel(logging.WARNING)
