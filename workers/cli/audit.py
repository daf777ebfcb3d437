"""`penstock audit`: what operators did, whether anybody changed it since, and what happened in a period."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from penstock.schemas.errors import Code, InvalidInputError, PenstockError
from penstock.workers.audit.chain import chain_state
from penstock.workers.audit.keys import AuditKeys
from penstock.workers.audit.report import Period, make_report
from penstock.workers.audit.seals import Anchor
from penstock.workers.audit.verification import Expected, Verdict, verify_chain
from penstock.workers.backup.keys import BackupKeys
from penstock.workers.backup.settings import BackupSettings
from penstock.workers.backup.store import Store
from penstock.workers.cli.audit_tell import told_report, told_verdict
from penstock.workers.cli.environment import environment, open_database, worker_settings
from penstock.workers.cli.output import emit, emit_list, json_option, to_the_second
from penstock.workers.database.operator_actions import ActionFilter, ActionLog
from penstock.workers.database.pool import open_pool
from penstock.workers.settings import WorkerSettings

_COLUMNS = ("at", "actor", "action", "target", "reason")


def _day_or_instant(value: str) -> datetime:
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a day such as 2026-11-21 nor an instant of RFC 3339") from None
    if found.tzinfo is None and len(value) > len("2026-11-21"):
        raise click.BadParameter(f"{value!r} has no offset, such as Z or +01:00")
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)


_DAY: click.ParamType[datetime] = click.types.FuncParamType(_day_or_instant)


@click.group(epilog="Example: penstock audit verify --anchor 12:9f8e…")
def audit() -> None:
    """What operators did: list it, prove that nobody changed it, report on a period."""


@audit.command("list", epilog="Example: penstock audit list --actor ada --action queue. --since 2026-11-01 --json")
@click.option("--actor", help="Who did it.")
@click.option("--action", help="What, such as queue.pause; with a dot at its end a family, such as queue.")
@click.option("--target", help="To what.")
@click.option("--text", help="Stands in the reason, target or actor, capitals aside.")
@click.option("--since", type=_DAY, help="Not before this day (UTC) or instant.")
@click.option("--until", type=_DAY, help="Before this day (UTC) or instant.")
@click.option("--after", help="Continue after this cursor.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=100, show_default=True)
@json_option
def list_(after: str | None, limit: int, as_json: bool, **wanted: Any) -> None:
    """List what operators did, the newest first."""
    with open_pool(worker_settings().model_copy(update={"pool_min": 0, "pool_max": 1}), "penstock-cli") as pool:
        page = ActionLog(pool).list(ActionFilter(**wanted), limit=limit, cursor=after)
    items = [action.as_dict() for action in page.items]
    if not as_json:
        items = [item | {"at": to_the_second(item["at"])} for item in items]
    emit_list(items, page.next, as_json, _COLUMNS)


@audit.command(epilog="Example: penstock audit anchor >> /mnt/elsewhere/anchors")
@json_option
def anchor(as_json: bool) -> None:
    """Print what names the newest seal and all before it: kept elsewhere, it shows whether the chain was made anew."""
    with open_database(worker_settings().database_url) as connection:
        state = chain_state(connection)
    if state.newest is None:
        told = "nothing is sealed yet"
        raise PenstockError(Code.REQUEST_NOT_FOUND, told, remedy="A scheduler seals within some seconds of an action.")
    sealed_at = None if state.sealed_at is None else state.sealed_at.isoformat()
    value = {"anchor": state.anchor, "seal": state.newest.number, "sealed_at": sealed_at, "waiting": state.waiting}
    emit(value, as_json, lambda: str(state.anchor))


@audit.command(epilog="Example: penstock audit verify --anchors /mnt/elsewhere/anchors --keyed-from 1")
@click.option("--anchor", "anchors", multiple=True, help="NUMBER:DIGEST as it was noted; say it again for each.")
@click.option(
    "--anchors",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of anchors, one a line.",
)
@click.option("--keyed-from", type=click.IntRange(1), help="The first seal that has to be made with a key.")
@json_option
def verify(anchors: tuple[str, ...], file: Path | None, keyed_from: int | None, as_json: bool) -> int:
    """See that everything is as it was sealed; exit code 1, and the first place where it is not."""
    noted = [*anchors, *(_lines(file) if file is not None else [])]
    verdict = _verify(worker_settings(), [Anchor.parse(text) for text in noted], keyed_from)
    emit(verdict.as_dict(), as_json, lambda: told_verdict(verdict))
    return 0 if verdict.is_whole else 1


@audit.command(epilog="Example: penstock audit report --from 2026-10-01 --to 2026-11-01 --json")
@click.option("--from", "since", type=_DAY, required=True, help="The first day (UTC), or an instant.")
@click.option("--to", "until", type=_DAY, required=True, help="The day (UTC) or instant before which it ends.")
@json_option
def report(since: datetime, until: datetime, as_json: bool) -> None:
    """Report on a period: access, actions, incidents, backups, erasures, and the chain."""
    settings, period = worker_settings(), Period(since, until)
    with open_database(settings.database_url) as connection:
        made = make_report(connection, period)
    verdict = _verify(settings, [], None).as_dict()
    made["chain"] |= {name: verdict[name] for name in ("whole", "seals", "actions", "begins_at", "keyed_from", "first")}
    made["backups"] = _backups(period)
    emit(made, as_json, lambda: told_report(made))


def _verify(settings: WorkerSettings, anchors: list[Anchor], keyed_from: int | None) -> Verdict:
    days = settings.audit_retention_days
    expected = Expected(
        keys=AuditKeys.from_setting(settings.audit_keys),
        anchors=anchors,
        keep=timedelta(days=days) if days else None,
        keyed_from=keyed_from,
    )
    with open_database(settings.database_url) as connection:
        return verify_chain(connection, expected)


def _backups(period: Period) -> Mapping[str, Any] | None:
    """The backups that were made in the period, and those that were proven; None where none are set up here."""
    try:
        settings = BackupSettings.from_environment(environment())
        entries = Store(settings.folder, BackupKeys.from_setting(settings.keys)).entries()
    except InvalidInputError:
        return None
    made = [entry for entry in entries if period.since <= entry.created_at < period.until]
    return {
        "made": len(made),
        "usable": sum(entry.fault is None for entry in made),
        "verified": sum(entry.verified_at is not None for entry in made),
        "newest": max((entry.created_at.isoformat() for entry in made), default=None),
    }


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        told = f"{file} can't be read ({type(error).__name__})"
        raise InvalidInputError(Code.REQUEST_USAGE, told, remedy="Name a file of anchors, one a line.") from None
