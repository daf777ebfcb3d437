"""The next release, made of this one: a later payload version, a kind of its own, and one more migration."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from penstock.migrations.files import read_folder

_ROOT = Path(__file__).parents[2]
_ROOMS = ("schemas", "producers", "workers", "migrations")
#: What both releases are called in records and logs.
NOW, NEXT = "0.1.0", "0.2.0"

_UP = """\
-- A table of the release's own, and a column each of two tables that both releases write.
CREATE TABLE penstock.stars (job_id uuid NOT NULL, name text NOT NULL);
GRANT INSERT ON penstock.stars TO penstock_worker;
ALTER TABLE penstock.job_effects ADD COLUMN channel text;
ALTER TABLE penstock.submission_batches ADD COLUMN channel text;
"""
_DOWN = """\
ALTER TABLE penstock.submission_batches DROP COLUMN channel;
ALTER TABLE penstock.job_effects DROP COLUMN channel;
DROP TABLE penstock.stars;
"""
#: File, what stands there, what takes its place.
_CHANGES = (
    (
        "schemas/submission_batch.py",
        "    conflict_code: ClassVar[Code] = Code.BATCH_CONFLICT\n",
        "    conflict_code: ClassVar[Code] = Code.BATCH_CONFLICT\n    payload_version: ClassVar[int] = 2\n",
    ),
    ("migrations/grants.py", '_INSERTED = (\n    "', '_INSERTED = (\n    "stars '),
)


@dataclass(frozen=True, slots=True)
class NextRelease:
    """Where the next release's package is, and the number of its migration."""

    path: Path
    migration: int


def make_next_release(folder: Path) -> NextRelease:
    """Copy this tree to `folder` and make the next release of it. PYTHONPATH with `folder` in front runs it."""
    package = folder / "penstock"
    for room in _ROOMS:
        # With times and compiled files, so that nothing is compiled anew.
        shutil.copytree(_ROOT / room, package / room)
    for name, before, after in _CHANGES:
        text = (package / name).read_text()
        assert text.count(before) == 1, f"{name} has changed: {before!r}"
        (package / name).write_text(text.replace(before, after))
    number = read_folder(package / "migrations").latest + 1
    (package / "migrations" / f"{number:04d}_stars.up.sql").write_text(_UP)
    (package / "migrations" / f"{number:04d}_stars.down.sql").write_text(_DOWN)
    facts = folder / f"penstock-{NEXT}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: penstock\nVersion: {NEXT}\n")
    return NextRelease(folder, number)
