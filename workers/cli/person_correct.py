"""`penstock person correct`: one submission's answers put right."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.cli.environment import worker_settings
from penstock.workers.cli.instants import INSTANT
from penstock.workers.cli.operator import login_name, reason_option, yes_option
from penstock.workers.cli.options import tenant_option
from penstock.workers.cli.output import emit, json_option
from penstock.workers.cli.person_options import as_owner
from penstock.workers.compliance.correction import Correction, Wanted, plan
from penstock.workers.compliance.correction import correct as store_correction


@click.command(epilog="Example: penstock person correct visits 7d1f…-… answers.json --reason 'request 19'")
@click.argument("form")
@click.argument("submission")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--submitted-at", type=INSTANT, help="Needed where several submissions have the id.")
@reason_option
@yes_option
@tenant_option
@json_option
def correct(
    form: str,
    submission: str,
    file: Path,
    submitted_at: datetime | None,
    reason: str,
    yes: bool,
    tenant: str | None,
    as_json: bool,
) -> None:
    """Correct answers of SUBMISSION of FORM by FILE: {"question": answer, …}; null takes an answer away.

    The form version that judged the submission judges it again. The difference is shown; the audit names questions
    alone.
    """
    answers = _read(file)
    wanted = Wanted(tenant or worker_settings().tenant, form, submission, answers, submitted_at)
    # Nothing is locked while somebody thinks.
    with as_owner() as (connection, _):
        shown = plan(connection, wanted)
    if not as_json:
        click.echo(_difference(shown), err=True)
    if not yes:
        click.confirm("Correct it so?", abort=True, err=True)
    with as_owner() as (connection, _):
        correction = plan(connection, wanted)
        if correction != shown:
            raise InvalidInputError(Code.SUBMISSION_CORRECTION_INVALID, "the submission was changed meanwhile")
        store_correction(connection, correction, login_name(), reason)
    told = f"{correction.submission_id}: {len(correction.changes)} answer(s) corrected"
    emit(correction.as_dict(), as_json, lambda: told)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(Code.REQUEST_FILE_NOT_FOUND, f"{str(file)!r} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        content = ""
    try:
        answers = json.loads(content)
    except (ValueError, RecursionError):
        answers = None
    if not isinstance(answers, dict) or not answers:
        raise InvalidInputError(
            Code.REQUEST_FILE_INVALID, f"{str(file)!r} holds no answers", remedy='Write {"question id": answer, …}.'
        )
    return answers


def _difference(correction: Correction) -> str:
    lines = [f"{correction.submission_id} of {correction.form_id}, version {correction.form_version}:"]
    for change in correction.changes:
        lines += [f"  {change.question_id}: {_shown(change.before)} -> {_shown(change.after)}"]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return "(no answer)" if value is None else json.dumps(value, ensure_ascii=False)
