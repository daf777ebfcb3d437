"""Backups: how old the newest one is, and when one was last restored."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from penstock.workers.backup.keys import BackupKeys
from penstock.workers.backup.settings import BackupSettings
from penstock.workers.backup.store import Entry, Store
from penstock.workers.verify.result import Result
from penstock.workers.verify.target import Target

#: One is made each night, and one is restored each week (docs/backup.md); so much later, one was missed.
_OLD = timedelta(hours=26)
_UNTRIED = timedelta(days=8)
_SETTING = "PENSTOCK_BACKUP_DIR"


def check_backups(target: Target) -> Iterator[Result]:
    """Whether a usable one of the last day is there, and one was restored within the week.

    Raises:
        InvalidInputError: `CONFIG_INVALID`.
    """
    name = "backups"
    if not (target.environ.get(_SETTING) or target.environ.get(f"{_SETTING}_FILE")):
        yield Result.skipped(name, f"{_SETTING} is not set here: nothing is known of them")
        return
    settings = BackupSettings.from_environment(target.environ)
    entries = Store(settings.folder, BackupKeys.from_setting(settings.keys)).entries()
    yield judge_backups(name, entries, datetime.fromtimestamp(target.clock(), UTC))


def judge_backups(name: str, entries: list[Entry], now: datetime) -> Result:
    """What the backups of a folder, the newest first, tell at a moment."""
    good = [entry for entry in entries if entry.fault is None]
    if not good:
        remedy = "Make one: penstock backup create. Then see why the nightly one does not run."
        return Result.fail(name, f"none is usable of {len(entries)}", remedy)
    age = now - good[0].created_at
    if age > _OLD:
        told = f"the newest usable one is {age / timedelta(hours=1):.0f} h old"
        return Result.warn(name, told, "See why the nightly one does not run; make one: penstock backup create.")
    tried = max((entry.verified_at for entry in good if entry.verified_at is not None), default=None)
    if tried is None or now - tried > _UNTRIED:
        told = "none was restored within the last week"
        return Result.warn(name, told, "Run penstock backup verify, and see why the weekly one does not.")
    return Result.ok(name, f"the newest is {age / timedelta(hours=1):.0f} h old; one was restored on {tried:%Y-%m-%d}")
