"""`penstock forms`: what is asked."""

from pathlib import Path

import click

from penstock.producers.storage.forms import Applied, StoredForm, apply_form, find_form, list_forms
from penstock.schemas.errors import Code, InvalidInputError, NotFoundError
from penstock.schemas.forms import parse_form
from penstock.schemas.names import require_name
from penstock.workers.cli.environment import open_database, worker_settings
from penstock.workers.cli.options import tenant_option
from penstock.workers.cli.output import emit, emit_list, json_option


@click.group(epilog="Example: penstock forms apply strikes.json")
def forms() -> None:
    """Forms: what is asked, version by version."""


@forms.command(epilog="Example: penstock forms apply strikes.json --id wildlife-strikes")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--id", "form_id", help="The form's id; else the file's `id`, else the file's name.")
@tenant_option
@json_option
def apply(file: Path, form_id: str | None, tenant: str | None, as_json: bool) -> None:
    """Make FILE the latest version of its form. Nothing changes where it is that already."""
    applied = apply_file(file, form_id, tenant)
    value = {"form_id": applied.form_id, "version": applied.version, "created": applied.created}
    emit(value, as_json, lambda: tell_applied(applied))


def apply_file(file: Path, form_id: str | None, tenant: str | None) -> Applied:
    """Apply a form's file.

    Raises:
        PenstockError: `REQUEST_FILE_NOT_FOUND`, `FORM_INVALID`, `FORM_ID_INVALID`, or of the `STORAGE_` family.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InvalidInputError(Code.REQUEST_FILE_NOT_FOUND, f"{str(file)!r} can't be read: {error.strerror}") from None
    form = parse_form(content)
    name = require_name(form_id or form.id or file.stem, Code.FORM_ID_INVALID, "a form id")
    settings = worker_settings()
    with open_database(settings.database_url) as connection, connection.transaction():
        return apply_form(connection, tenant or settings.tenant, name, form)


def tell_applied(applied: Applied) -> str:
    """What applying did, in a sentence."""
    if applied.created:
        return f"{applied.form_id}: version {applied.version} is the latest now"
    return f"{applied.form_id}: version {applied.version} says that already, nothing changed"


@forms.command("list", epilog="Example: penstock forms list --json")
@click.option("--after", default="", help="Continue after this form id.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@tenant_option
@json_option
def list_(after: str, limit: int, tenant: str | None, as_json: bool) -> None:
    """List the forms."""
    settings = worker_settings()
    with open_database(settings.database_url) as connection:
        found = list_forms(connection, tenant or settings.tenant, after, limit + 1)
    items = [form.as_dict() for form in found[:limit]]
    following = found[limit - 1].form_id if len(found) > limit else None
    emit_list(items, following, as_json, ("form_id", "latest_version", "questions", "updated_at", "title"))


@forms.command(epilog="Example: penstock forms show wildlife-strikes --version 1")
@click.argument("form")
@click.option("--version", type=click.IntRange(1), help="An earlier version; the latest by default.")
@tenant_option
@json_option
def show(form: str, version: int | None, tenant: str | None, as_json: bool) -> None:
    """Show a form."""
    settings = worker_settings()
    with open_database(settings.database_url) as connection:
        stored = find_form(connection, tenant or settings.tenant, form, version)
    if stored is None:
        code = Code.FORM_NOT_FOUND if version is None else Code.FORM_VERSION_NOT_FOUND
        told = f"there is no form {form!r}" + ("" if version is None else f" of version {version}")
        raise NotFoundError(code, told)
    emit(stored.as_dict(), as_json, lambda: _tell_form(stored))


def _tell_form(stored: StoredForm) -> str:
    form = stored.parse()
    lines = [f"{stored.form_id} version {stored.version} of {stored.latest_version}: {form.title}"]
    lines += [f"  purpose: {form.purpose}"] if form.purpose else []
    lines += [f"  legal basis: {form.legal_basis}"] if form.legal_basis else []
    lines += [
        f"  {question.id}  {question.type}{' (required)' if question.required else ''}  {question.text}"
        for question in form.questions
    ]
    return "\n".join(lines)
