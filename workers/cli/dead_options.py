"""Options of the commands of dead letters: which letters are meant, and why."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import click

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.cli.operator import require_reason_text
from penstock.workers.dead_letters.filters import LetterFilter

Command = Callable[..., Any]

#: Option, parameter of the filter, what it says.
_FILTERS = (
    ("--kind", "kind", "Only of this job kind."),
    ("--code", "code", "Only with this code."),
    ("--queue", "queue", "Only of this queue."),
    ("--platform", "platform", "Only about this platform."),
    ("--form", "form", "Only about this form."),
    ("--account", "account", "Only about this account."),
    ("--tenant", "tenant", "Only of this tenant."),
    ("--group", "group", "Only of this group, by its fingerprint."),
    ("--state", "state", "open (if absent), requeued, discarded or any."),
    ("--became", "became", "Of requeued ones: waiting, done or died."),
    ("--since", "since", "Died then or later: RFC 3339, or 30m, 6h, 7d for so long ago."),
    ("--until", "until", "Died before that."),
    ("--job", "job_id", "Only of this job."),
    ("--text", "text", "Words in code, message, error, kind, ids and subjects."),
)


def filter_options(command: Command) -> Command:
    """The options that choose letters, as the parameters of the pages' addresses do."""
    payload = "What stands in the payload: form_id=poll, submissions.0.id=x. May be repeated."
    command = click.option("--payload", "payload", multiple=True, metavar="PATH=VALUE", help=payload)(command)
    for option, parameter, told in reversed(_FILTERS):
        command = click.option(option, parameter, help=told)(command)
    return command


def names_any(options: Mapping[str, Any]) -> bool:
    """Whether any option chooses letters."""
    return any(options[parameter] for _, parameter, _ in _FILTERS) or bool(options["payload"])


def filter_of(options: Mapping[str, Any]) -> LetterFilter:
    """The filter that the options say.

    Raises:
        InvalidInputError: `REQUEST_USAGE`, naming what is wrong.
    """
    given: dict[str, Any] = {parameter: options[parameter] for _, parameter, _ in _FILTERS if options[parameter]}
    try:
        return LetterFilter.parse(given | {"payload": list(options["payload"])}, also=())
    except InvalidInputError as error:
        # An option is at fault, and the exit code says so.
        raise InvalidInputError(Code.REQUEST_USAGE, error.message, remedy=error.remedy) from None


def chosen_filter(ids: tuple[UUID, ...], everything: bool, options: Mapping[str, Any]) -> LetterFilter | None:
    """The filter of a command that changes letters; None where it names them.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where it says both, or nothing: all open letters have to be asked for.
    """
    if sum((bool(ids), names_any(options), everything)) != 1:
        raise InvalidInputError(
            Code.REQUEST_USAGE, "say which: name ids, or choose by options such as --group, or say --all, one of them"
        )
    return None if ids else filter_of(options)


def needed_reason(reason: str | None, *, needed: bool) -> str:
    """The reason; empty where none was given and none is needed.

    Raises:
        InvalidInputError: `REQUEST_USAGE`.
    """
    if reason is not None:
        return require_reason_text(reason)
    if needed:
        raise InvalidInputError(Code.REQUEST_USAGE, "Missing option '--reason'.")
    return ""


ids_argument: Callable[[Command], Command] = click.argument("ids", metavar="[ID]...", nargs=-1, type=click.UUID)
id_argument: Callable[[Command], Command] = click.argument("dead_id", metavar="ID", type=click.UUID)
all_option: Callable[[Command], Command] = click.option("--all", "everything", is_flag=True, help="All that are open.")
#: Needed by what changes or reveals something, and by nothing else.
why_option: Callable[[Command], Command] = click.option("--reason", help="Why; it is recorded with your login name.")
reveal_option: Callable[[Command], Command] = click.option(
    "--reveal", is_flag=True, help="Payloads as they are; it needs a reason and is recorded."
)
