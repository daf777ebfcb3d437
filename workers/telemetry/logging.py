"""Logs on standard error: JSON lines for programs, text for a person.

Lines of the standard library's loggers and of structlog's go through the same formatter. None tells the text of an
exception: it can quote what somebody wrote.
"""

import json
import logging
import re
import sys
import threading
import traceback
import warnings
import zlib
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

from penstock.schemas.errors import PenstockError
from penstock.workers.telemetry.context import bound_facts, job_facts, name_process, process_facts

#: Members that a log call may add through `extra`, or that are bound, so that lines of one job can be found.
CONTEXT = (
    *("request_id", "trace_id", "job_id", "batch_id", "queue", "kind", "tenant", "jobs", "attempt"),
    *("code", "outcome", "seconds", "replay_id", "verb", "sentry"),
)
_CONTEXT = frozenset(CONTEXT)
#: Loggers whose lines are written by this project; the texts of others are not known to be free of contents.
_OWN = ("penstock", "migrations")
_OUTCOMES_OF_PLENTY = frozenset({"done"})
_SCALARS = (str, int, float)


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; an exception is told by its type and stack, without its arguments."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message_of(record),
        }
        line |= process_facts()
        line |= context_of(record)
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
        known = context_of(record)
        told = "".join(f"  {name}={known[name]}" for name in ("batch_id", "code", "seconds") if name in known)
        error = f"  {record.exc_info[0].__name__}" if record.exc_info and record.exc_info[0] else ""
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return f"{at} {level}{_message_of(record)}{told}{error}"


def context_of(record: logging.LogRecord) -> dict[str, Any]:
    """What a line says beside its message: of its job, what was bound, and what the call gave, which comes last."""
    given = record.__dict__
    job_id = given.get("job_id")
    found = dict(job_facts(None if job_id is None else str(job_id)))
    found |= {name: value for name, value in bound_facts().items() if name in _CONTEXT}
    found |= {name: given[name] for name in CONTEXT if name in given}
    return found


def _message_of(record: logging.LogRecord) -> str:
    """The message, without texts of exceptions and, of loggers that are not ours, of objects."""
    is_own = record.name.partition(".")[0] in _OWN
    if is_own and not record.args:
        return str(record.msg)
    arguments = record.args
    if isinstance(arguments, tuple):
        arguments = tuple(_argument(one, is_own) for one in arguments)
    elif arguments:
        arguments = {name: _argument(one, is_own) for name, one in arguments.items()}
    # Some libraries put an exception's text behind the first line of theirs.
    text = str(_argument(record.msg, is_own)) if is_own else str(_argument(record.msg, is_own)).partition("\n")[0]
    try:
        return text % arguments if arguments else text
    except (TypeError, ValueError, KeyError):
        return text


def _argument(value: Any, is_own: bool) -> Any:
    if isinstance(value, PenstockError):
        return value.message
    if isinstance(value, BaseException):
        return type(value).__name__
    return value if is_own or value is None or isinstance(value, _SCALARS) else f"<{type(value).__name__}>"


class Sampling(logging.Filter):
    """Lets a share of the lines through that tell that a job is done; the same jobs in every process and run.

    Warnings and errors, and what else is told, come through always.

    Args:
        share: from 0 to 1.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self._share = share

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is to be written."""
        if record.levelno > logging.INFO or record.__dict__.get("outcome") not in _OUTCOMES_OF_PLENTY:
            return True
        return is_sampled(str(record.__dict__.get("job_id")), self._share)


def is_sampled(job_id: str, share: float) -> bool:
    """Whether a job is among the share of those that are told of."""
    return share >= 1 or zlib.crc32(job_id.encode()) / 2**32 < share


def set_up_logging(
    level: str, style: Literal["json", "text"] = "json", *, share: float = 1, process: str | None = None
) -> None:
    """Log everything from `level` on, as JSON lines or as text.

    Args:
        level: the least one.
        style: of the lines.
        share: of the jobs whose end is told where it is a good one.
        process: what this process is, for the lines to say.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    if share < 1:
        handler.addFilter(Sampling(share))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # dramatiq tells every message at debug, and ours are told by the job log.
    logging.getLogger("dramatiq").setLevel(logging.WARNING)
    # Ours are told at debug; these tell bytes on the wire, or addresses that hold a token.
    for name in ("urllib3", "httpcore", "httpx", "asyncio", "multipart", "python_multipart"):
        logging.getLogger(name).setLevel(max(logging.INFO, logging.getLogger().level))
    if process is not None:
        name_process(process)
    _bridge_structlog()
    _tell_of_what_nobody_caught()


def _bridge_structlog() -> None:
    import structlog  # noqa: PLC0415  commands that log nothing need not wait for it

    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _tell_of_what_nobody_caught() -> None:
    """Log by type and place what Python would print with its text: uncaught exceptions and warnings."""
    log = logging.getLogger("penstock.uncaught")

    def uncaught(kind: type[BaseException], error: BaseException | None, place: TracebackType | None) -> None:
        if not issubclass(kind, (KeyboardInterrupt, SystemExit)):
            log.critical("an exception that nobody caught", exc_info=(kind, error or kind(), place))

    def in_thread(told: threading.ExceptHookArgs) -> None:
        uncaught(told.exc_type, told.exc_value, told.exc_traceback)

    def in_finalizer(told: Any) -> None:
        uncaught(told.exc_type, told.exc_value, told.exc_traceback)

    def warned(_message: Any, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
        # pydantic's warnings quote the value that they warn of.
        log.warning("%s at %s:%d", category.__name__, re.sub(r".*/site-packages/", "", filename), lineno)

    sys.excepthook = uncaught
    threading.excepthook = in_thread
    sys.unraisablehook = in_finalizer
    warnings.showwarning = warned  # type: ignore[assignment]
