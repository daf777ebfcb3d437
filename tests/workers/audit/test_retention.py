"""Old actions leave, archived before; what stays is verified from there on."""

import gzip
import json
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.archives.archive import ArchiveFolder, verify_archive
from penstock.workers.audit.retention import AuditRetention
from penstock.workers.audit.seals import Anchor
from tests.workers.audit.conftest import Chain

KEEP = timedelta(days=400)


def retention(chain: Chain, folder: ArchiveFolder | None = None, days: float = 1_000) -> AuditRetention:
    """As it is so many days from now; the chain can't be made older, for its digests hold when it was sealed."""
    return AuditRetention(chain.transactions, KEEP, folder, lambda: datetime.now(UTC) + timedelta(days=days))


@pytest.fixture
def aged(chain: Chain) -> Iterator[Chain]:
    """Three seals, and a database that takes them for old enough."""
    for reason in ("one", "two", "three"):
        chain.sealed(reason, f"{reason} too")
    definition = str(chain.database.value("SELECT pg_get_functiondef('penstock.drop_sealed_actions'::regproc)"))
    definition = definition.replace("%", "%%")
    chain.database.query(definition.replace("now() - INTERVAL '365 days'", "'infinity'"))
    yield chain
    chain.database.query(definition)


def test_old_seals_leave_with_their_actions_and_the_rest_is_whole(aged: Chain, tmp_path: Path) -> None:
    folder = ArchiveFolder(tmp_path / "archives")
    first = aged.database.value(
        "SELECT number || ':' || encode(digest, 'hex') FROM penstock.audit_seals WHERE number=1"
    )
    assert retention(aged, folder).run_round() is True
    assert retention(aged, folder).run_round() is False
    reasons = [one for (one,) in aged.database.query("SELECT reason FROM penstock.operator_actions ORDER BY at")]
    assert reasons == ["three", "three too", "kept for 400 days"]
    made = aged.seal()
    assert made is not None
    # They left long before their time, and so the chain is broken for who looks today.
    assert [one.problem for one in aged.verify(keep=KEEP).problems] == ["left-early"]
    verdict = aged.verify(keep=timedelta(0), anchors=[Anchor.parse(first), Anchor.parse(made.seal.anchor)])
    assert verdict.is_whole, verdict.problems
    assert (verdict.begins_at, verdict.seals, verdict.actions) == (3, 3, 3)
    assert verdict.retained_since is not None
    (manifest,) = folder.manifests()
    verify_archive(folder, manifest)
    with gzip.open(folder.data(manifest.name)) as file:
        rows = [json.loads(line) for line in file]
    assert [(row["seal"], row["position"]) for row in rows] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert {row["reason"] for row in rows} == {"one", "one too", "two", "two too"}
    assert stat.S_IMODE(folder.data(manifest.name).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    recorded = aged.database.value("SELECT details FROM penstock.operator_actions WHERE action = 'audit.retention'")
    assert (recorded["first"], recorded["through"], recorded["archive"]) == (1, 2, manifest.name)


def test_a_beginning_that_somebody_cut_off_is_found(aged: Chain) -> None:
    aged.tamper(
        "DELETE FROM penstock.operator_actions WHERE reason LIKE 'one%%' OR reason LIKE 'two%%'",
        "DELETE FROM penstock.audit_sealed_actions WHERE seal < 3",
        "DELETE FROM penstock.audit_seals WHERE number < 2",
        "UPDATE penstock.audit_seals SET left_at = now() WHERE number = 2",
    )
    (found,) = aged.verify(keep=KEEP).problems
    assert (found.problem, found.seal) == ("left-early", 2)


def test_what_cannot_be_archived_stays(aged: Chain, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    with pytest.raises(PenstockError) as caught:
        retention(aged, ArchiveFolder(tmp_path / "a file")).run_round()
    assert caught.value.code is Code.STORAGE_ARCHIVE_FAILED
    assert aged.verify().is_whole
    assert aged.verify().actions == 6


def test_what_is_young_stays(aged: Chain) -> None:
    assert retention(aged, days=399).run_round() is False
    assert aged.verify().actions == 6


def test_the_database_keeps_a_year_whatever_a_worker_asks(chain: Chain) -> None:
    chain.sealed("one")
    chain.sealed("two")
    with psycopg.connect(chain.database.url, autocommit=True) as connection:
        for before in ("now() - INTERVAL '300 days'", "NULL", "now() - INTERVAL '366 days'"):
            with pytest.raises((psycopg.errors.InvalidParameterValue, psycopg.errors.ObjectNotInPrerequisiteState)):
                connection.execute(f"SELECT penstock.drop_sealed_actions(1, {before})".encode())
    assert chain.verify().actions == 2
