"""Where a batch's processor time goes: each stage of a worker, and each thing that COPY has PostgreSQL do.

`python -m benchmarks.stages [--rounds N]` prints both tables: microseconds, or milliseconds, for a batch of 1,000 rows.

The stages are those of a process that does nothing else; servers beside it share its caches, and it takes longer.
What PostgreSQL does is measured with tables that lack something of `submissions`.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import cast
from uuid import uuid4

import psycopg

from benchmarks.compared.processor import processor_seconds
from benchmarks.compared.servers import Servers, servers
from penstock.producers.queue.compression import compress, decompress
from penstock.schemas.submission_batch import WriteSubmissionBatch, batch_digest
from penstock.workers.demo import FORM_ID
from penstock.workers.forms.cache import FormCache, FormVersion
from penstock.workers.job import Job
from penstock.workers.submissions.batch import BatchReader
from penstock.workers.submissions.copy_block import COLUMNS, copy_block, rows_block
from penstock.workers.submissions.identities import Identities, Identity
from penstock.workers.submissions.rows import judge_plain, plain_answers

BATCH_ROWS, BATCHES, REPEATS = 1_000, 30, 60
_COPY = f"COPY {{}} ({', '.join(COLUMNS)}) FROM STDIN (FORMAT binary)"
_LIKE = "LIKE penstock.submissions INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION"
_KEY = "ALTER TABLE {} ADD PRIMARY KEY (form_key, submission_id, submitted_at)"
_INDEX = "CREATE INDEX ON {} (form_id, submitted_at DESC)"
_BYTES = "ALTER TABLE {} ALTER answers TYPE bytea USING NULL"

#: Tables that lack something: the word after CREATE, and what is done to them then.
TABLES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "without partitions": ("", (_KEY, _INDEX)),
    "that, unlogged": ("UNLOGGED", (_KEY, _INDEX)),
    "with the primary key alone": ("", (_KEY,)),
    "with the form's index alone": ("", (_INDEX,)),
    "with no index": ("", ()),
    "with no index, and bytes in the place of jsonb": ("", (_BYTES,)),
}


class _OneForm:
    """What a reader needs of the cache of forms."""

    def __init__(self, form: FormVersion) -> None:
        self._form = form

    def get(self, *_: object) -> FormVersion:
        return self._form


class Batches:
    """Makes batches of the same rows, each with ids of its own."""

    def __init__(self, started: Servers) -> None:
        self._rows = b",".join(started.rows[:BATCH_ROWS])
        self._made = 0
        self.reader = BatchReader(cast("FormCache", _OneForm(started.form)), BATCH_ROWS)

    def job(self) -> Job:
        """The next one."""
        self._made += 1
        head = f'{{"form_id":"{FORM_ID}","batch_id":"b-{self._made:06}","base_batch_id":"b",'
        position = f'"first_position":{self._made * BATCH_ROWS},"submissions":['
        payload = f"{head}{position}".encode() + self._rows + b"]}"
        return Job(uuid4(), WriteSubmissionBatch.kind, "default", datetime.now(UTC), 1, payload)

    def block(self) -> bytes:
        """The next one as PostgreSQL gets it."""
        batch = self.reader.read(self.job())
        rows = rows_block(
            batch.accepted,
            form_key=batch.form_key,
            form_id=batch.form_id,
            batch_id=batch.batch_id,
            received_us=batch.received_us,
        )
        return copy_block([rows])


def microseconds(work: Callable[[], object]) -> float:
    """The median of many runs."""
    taken = []
    for _ in range(REPEATS):
        began = time.process_time_ns()
        work()
        taken.append(time.process_time_ns() - began)
    return statistics.median(taken) / 1_000


def stages(started: Servers) -> Iterator[tuple[str, float]]:
    """Each stage of a batch in a worker, before PostgreSQL sees it."""
    batches, form = Batches(started), started.form
    job = batches.job()
    wire, encoding = compress(job.payload)
    sent = b"[" + b",".join(started.rows[:BATCH_ROWS]) + b"]"
    answers = plain_answers(sent) or []
    identity = Identity("b", 0, 1_700_000_000_000_000)
    batch = batches.reader.read(job)
    yield "decompress", microseconds(lambda: decompress(wire, encoding, 1 << 28))
    yield "read, all of it", microseconds(lambda: batches.reader.read(job))
    yield "read: cut out the answers", microseconds(lambda: plain_answers(sent))
    yield "read: check them by the form's rules", microseconds(lambda: form.rules.check_all(answers))
    yield "read: ids", microseconds(lambda: Identities(form.submission_ids, identity).all_derived(BATCH_ROWS))
    yield "read: all but the digest", microseconds(lambda: judge_plain(answers, sent, form, identity))
    yield "read: SHA-256", microseconds(lambda: batch_digest(FORM_ID, sent))
    yield (
        "the block for COPY",
        microseconds(
            lambda: rows_block(batch.accepted, form_key=1, form_id=FORM_ID, batch_id="b", received_us=batch.received_us)
        ),
    )


def copy_costs(started: Servers, rounds: int) -> Iterator[tuple[str, list[float]]]:
    """Milliseconds of PostgreSQL's processor time for a batch's rows, by what the table has."""
    tables = {"the table as it is": "penstock.submissions"}
    for number, (what, (kind, changes)) in enumerate(TABLES.items()):
        tables[what] = name = f"bench_copy_{number}"
        started.admin.execute(f"CREATE {kind} TABLE {name} ({_LIKE})".encode())
        for change in changes:
            started.admin.execute(change.format(name).encode())
    batches, found = Batches(started), {what: list[float]() for what in tables}
    for _ in range(rounds):
        for what, name in tables.items():
            found[what].append(_copy_cost(started, batches, name))
    yield from found.items()


def _copy_cost(started: Servers, batches: Batches, table: str) -> float:
    started.admin.execute(f"TRUNCATE {table}".encode())
    started.admin.execute("CHECKPOINT")
    blocks = [batches.block() for _ in range(BATCHES)]
    server = [started.processes["postgresql"]]
    before = processor_seconds(server)
    with psycopg.connect(started.admin_url) as connection:
        for block in blocks:
            with connection.cursor() as cursor, cursor.copy(_COPY.format(table).encode()) as copy:
                copy.write(block)
            connection.commit()
    return (processor_seconds(server) - before) / BATCHES * 1_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.stages", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with servers(BATCH_ROWS) as started:
        sys.stdout.write("| in a worker | µs |\n|---|---|\n")
        for name, taken in stages(started):
            sys.stdout.write(f"| {name} | {taken:,.0f} |\n")
        sys.stdout.write("\n| COPY in PostgreSQL | ms | rounds |\n|---|---|---|\n")
        for name, each in copy_costs(started, chosen.rounds):
            sys.stdout.write(f"| {name} | {statistics.median(each):.2f} | {min(each):.2f} to {max(each):.2f} |\n")


if __name__ == "__main__":
    main()
