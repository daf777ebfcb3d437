"""`penstock sidecar`."""

import os
from importlib import import_module
from pathlib import Path
from types import ModuleType

import click

from penstock.producers.queue.audit import audit_entry
from penstock.schemas.errors import Code, InvalidInputError, PenstockError
from penstock.workers.cli.environment import open_database, worker_settings
from penstock.workers.cli.operator import login_name
from penstock.workers.cli.output import emit, json_option
from penstock.workers.database.operator_actions import record_actions
from penstock.workers.embedded.sidecar_process import INSTALL, missing_libraries
from penstock.workers.sidecar.access.credentials import Credential, make_credential
from penstock.workers.sidecar.access.operator import Role
from penstock.workers.telemetry.exporting import exporting_traces
from penstock.workers.telemetry.logging import set_up_logging
from penstock.workers.telemetry.sentry import telling_sentry

_CREDENTIALS_FILE = "PENSTOCK_SIDECAR_CREDENTIALS_FILE"


@click.group(invoke_without_command=True, epilog="Example: PENSTOCK_SIDECAR_LISTEN=127.0.0.1:9292 penstock sidecar")
@click.pass_context
def sidecar(context: click.Context) -> int | None:
    """Serve metrics, health, the operators' API and their pages, until SIGTERM.

    It answers while Redis or PostgreSQL is away, too, with what it knows.
    """
    if context.invoked_subcommand is not None:
        return None
    settings = worker_settings()
    set_up_logging(settings.log_level, settings.log_format, share=settings.log_sample, process="sidecar")
    file = os.environ.get(_CREDENTIALS_FILE)
    with (
        telling_sentry(settings.sentry_dsn, settings.environment, "sidecar"),
        exporting_traces(os.environ, "sidecar"),
    ):
        code: int = _server().run_sidecar(settings, Path(file) if file else None)
    return code


def _server() -> ModuleType:
    """The server's module, whose libraries are an extra of their own.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where they are not installed.
    """
    missing = missing_libraries()
    if missing:
        raise InvalidInputError(
            Code.CONFIG_INVALID,
            f"the sidecar's libraries are not installed: {', '.join(missing)}",
            remedy=f"Install them: {INSTALL}",
        )
    return import_module("penstock.workers.sidecar.server")


def _record(made: Credential) -> None:
    """Record that a credential was made. It can be made before there is a database; then that is told."""
    entry = audit_entry(login_name(), "access.credential", made.name, "", {"role": str(made.role), "mark": made.mark})
    try:
        with open_database(worker_settings().database_url) as connection, connection.transaction():
            record_actions(connection, [entry])
    except PenstockError as error:
        click.echo(f"not recorded in the audit: {error.code}", err=True)


@sidecar.command(epilog="Example: penstock sidecar credential ana --role operator")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice([str(role) for role in Role]),
    required=True,
    help="viewer looks; operator also acts; admin also reveals what is redacted.",
)
@json_option
def credential(name: str, role: str, as_json: bool) -> int:
    """Make a credential: prints its token, once, and the line for PENSTOCK_SIDECAR_CREDENTIALS."""
    made, token = make_credential(name, Role(role))
    _record(made)
    value = {"name": made.name, "role": str(made.role), "token": token, "line": made.line}
    emit(
        value,
        as_json,
        lambda: (
            f"token for {made.name}, shown this once: {token}\nline for PENSTOCK_SIDECAR_CREDENTIALS:   {made.line}"
        ),
    )
    return 0
