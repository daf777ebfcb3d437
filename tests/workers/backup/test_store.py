"""The folder of backups: what is whole, what is kept, what is removed."""

import fcntl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.backup.keys import BackupKeys, generate_key
from penstock.workers.backup.manifest import Content, Manifest, Membership, Role, TableContent
from penstock.workers.backup.store import Store, new_name

KEYS = BackupKeys.from_setting(generate_key("2026a"))
NOW = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
KEEP = timedelta(days=30)
CONTENT = Content(
    {"penstock.submissions_y2026m11": TableContent(3, "-17")},
    {"penstock.outbox_id_seq": 9},
    {"relation penstock.submissions": "0a1b"},
    [Role("penstock_worker", login=False, inherit=True)],
    [Membership("penstock_worker", "Ünïcode worker", admin=False, inherit=True, set=None)],
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, KEYS)


def add(store: Store, age_days: float, *, verified: bool = False) -> str:
    created_at = NOW - timedelta(days=age_days)
    name = new_name(created_at)
    store.write(name, "dump", b"d" * 100)
    manifest = Manifest(
        name, created_at, "daily", "penstock", 180004, 18, "0.1.0", size=100, sha256="0" * 64, content=CONTENT
    )
    store.write(name, "manifest", manifest.seal(KEYS))
    if verified:
        store.note_verified(name, {"verified_at": created_at.isoformat()})
    return name


def names(store: Store) -> set[str]:
    return {entry.name for entry in store.entries()}


def test_a_manifest_is_read_as_it_was_written(store: Store) -> None:
    name = add(store, 0)
    manifest = store.manifest(None)
    assert (manifest.name, manifest.content, manifest.created_at) == (name, CONTENT, NOW)


def test_old_ones_go_and_young_ones_stay(store: Store) -> None:
    young, old = {add(store, 0), add(store, 29)}, {add(store, 31), add(store, 400)}
    assert set(store.remove_old(KEEP, NOW)) == old
    assert names(store) == young
    assert {path.stem for path in store.path.iterdir()} == young


def test_the_last_good_one_stays_however_old_it_is(store: Store) -> None:
    add(store, 400)
    last = add(store, 300)
    store.remove_old(KEEP, NOW)
    assert names(store) == {last}


def test_a_damaged_one_does_not_count_as_the_last_good_one(store: Store) -> None:
    good, cut = add(store, 300), add(store, 200)
    (store.path / f"{cut}.dump").write_bytes(b"d" * 99)
    changed = add(store, 100)
    manifest = store.path / f"{changed}.manifest"
    manifest.write_bytes(manifest.read_bytes().replace(b'"rows": 3', b'"rows": 4'))
    assert set(store.remove_old(KEEP, NOW)) == {cut, changed}
    assert names(store) == {good}


def test_the_newest_verified_one_stays_until_a_newer_one_is_verified(store: Store) -> None:
    add(store, 80, verified=True)
    verified, newest = add(store, 60, verified=True), add(store, 0)
    store.remove_old(KEEP, NOW)
    assert names(store) == {verified, newest}
    store.note_verified(newest, {"verified_at": NOW.isoformat()})
    store.remove_old(KEEP, NOW)
    assert names(store) == {newest}


def test_nothing_goes_where_nothing_is_good(store: Store) -> None:
    name = add(store, 400)
    (store.path / f"{name}.dump").unlink()
    assert store.remove_old(KEEP, NOW) == []
    assert names(store) == {name}


@pytest.mark.parametrize("field", [b'"rows": 3', b'"daily"', b"penstock_worker", b'"hmac_sha256": "'])
def test_a_changed_manifest_is_noticed(store: Store, field: bytes) -> None:
    name = add(store, 0)
    path = store.path / f"{name}.manifest"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(field, field[:-1] + b"x"))
    (entry,) = store.entries()
    assert entry.fault is not None
    assert entry.fault.code is Code.STORAGE_BACKUP_DAMAGED
    path.write_bytes(whole[:-30])
    with pytest.raises(PenstockError) as raised:
        store.manifest(name)
    assert raised.value.code is Code.STORAGE_BACKUP_DAMAGED


def test_a_manifest_stands_in_for_no_other(store: Store) -> None:
    name, other = add(store, 0), add(store, 1)
    (store.path / f"{name}.manifest").write_bytes((store.path / f"{other}.manifest").read_bytes())
    with pytest.raises(PenstockError, match=f"the manifest of {name} is that of {other}"):
        store.manifest(name)


def test_a_file_that_failed_half_way_is_not_there(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.writing("x", "dump") as file:
        file.write(b"half" * (1 // (file.write(b"half") - 4)))
    assert list(store.path.iterdir()) == []


def test_one_process_at_a_time_and_leftovers_of_killed_ones_go(store: Store) -> None:
    (store.path / "penstock-x.dump.part").write_bytes(b"half")
    with store.locked():
        assert [path.name for path in store.path.iterdir()] == ["lock"]
        with pytest.raises(PenstockError) as raised, store.locked():
            pass
        assert raised.value.code is Code.STORAGE_BACKUP_RUNNING
    with (store.path / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "penstock-1", "lock", "", "penstock-20261121T020000Z-0a1b2c3d/.."]
)
def test_a_name_that_is_none_is_not_looked_for(store: Store, name: str) -> None:
    with pytest.raises(PenstockError) as raised:
        store.manifest(name)
    assert raised.value.code is Code.STORAGE_BACKUP_NOT_FOUND
