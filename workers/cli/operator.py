"""What commands of operators share: who they are, why they act, and on which queue."""

import os
import pwd
from collections.abc import Callable
from typing import Any

import click

from penstock.schemas.errors import Code, InvalidInputError, NotFoundError
from penstock.schemas.names import Queue, require_name

_REASON_LENGTH = 500


def login_name() -> str:
    """The login name of the user who runs the command; `uid N` where the system knows none, as in some containers."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _queue(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Queue | None:
    if value is None:
        return None
    if value not in set(Queue):
        raise NotFoundError(Code.QUEUE_NOT_FOUND, f"there is no queue {value[:80]!r}, only {', '.join(Queue)}")
    return Queue(value)


def _reason(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    return require_reason_text(value)


def require_reason_text(value: str) -> str:
    """Why an operator acts, without white space at the ends.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where it is empty, too long, or more than a line.
    """
    reason = value.strip()
    if not reason or len(reason) > _REASON_LENGTH or not reason.isprintable():
        raise InvalidInputError(Code.REQUEST_USAGE, f"a reason is one line of 1 to {_REASON_LENGTH} characters")
    return reason


def require_tenant(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """The tenant that a command is about, where it names one."""
    return None if value is None else require_name(value, Code.REQUEST_TENANT_INVALID, "a tenant")


#: The queue that a command is about.
queue_argument: Callable[[Callable[..., Any]], Callable[..., Any]] = click.argument(
    "queue_name", metavar="QUEUE", callback=_queue
)
#: The same where the command may be about something else.
optional_queue_argument: Callable[[Callable[..., Any]], Callable[..., Any]] = click.argument(
    "queue_name", metavar="[QUEUE]", required=False, callback=_queue
)
#: Why an operator acts; it stands in the audit for ever.
reason_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--reason", required=True, callback=_reason, help="Why; it is recorded with your login name."
)
#: Do not ask.
yes_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option("--yes", is_flag=True, help="Do not ask.")
#: Whose jobs only; those of all where it is absent.
only_tenant_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--tenant", callback=require_tenant, help="Only jobs of this tenant; of all if absent."
)
