"""What the order of rows' ids costs PostgreSQL as a partition grows.

`python -m benchmarks.row_ids [--sizes 10000,1000000,10000000] [--rounds N] [--into FILE]`

Derived ids, and UUIDs of version 4, are in no order: each row goes to another page of the primary key, and after
a checkpoint such a page goes whole into the log, once. Those of version 7 are ordered by time, and go to the last page.
Measured is COPY alone, of batches of 1,000 rows, with a checkpoint before each round.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.compared.parts import tell
from benchmarks.compared.processor import processor_seconds
from benchmarks.compared.results import commit, default_path, machine, versions
from benchmarks.compared.servers import Servers, servers
from benchmarks.scaling import fill_rows
from penstock.workers.demo import FORM_ID
from penstock.workers.submissions.accepted import Accepted
from penstock.workers.submissions.copy_block import COLUMNS, copy_block, rows_block

BATCH_ROWS, BATCHES = 1_000, 30
_COPY = f"COPY penstock.submissions ({', '.join(COLUMNS)}) FROM STDIN (FORMAT binary)"
_WAL = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"


def in_no_order() -> Iterator[bytes]:
    """Ids as random as derived ones."""
    while True:
        yield os.urandom(16)


def in_order_of_time() -> Iterator[bytes]:
    """UUIDs of version 7 (RFC 9562 §5.7), a thousand to the millisecond."""
    for number in count(time.time_ns() // 1_000):
        head = number // 1_000 << 80 | 0x7 << 76 | number % 1_000 << 64 | 0b10 << 62
        yield (head | int.from_bytes(os.urandom(7))).to_bytes(16)


class Batches:
    """Makes the blocks of batches whose rows have such ids."""

    def __init__(self, started: Servers, ids: Callable[[], Iterator[bytes]]) -> None:
        self._form_key = started.form.form_key
        self._answers = [row.removeprefix(b'{"answers":').removesuffix(b"}") for row in started.rows[:BATCH_ROWS]]
        self._ids = ids()

    def block(self) -> bytes:
        """The next one, in the order of its ids, as a worker writes it."""
        now_us = time.time_ns() // 1_000
        rows = [Accepted(row_id, now_us, None, answers) for row_id, answers in zip(self._ids, self._answers)]  # noqa: B905  ids don't end
        rows.sort(key=lambda row: row.submission_id)
        return copy_block(
            [rows_block(rows, form_key=self._form_key, form_id=FORM_ID, batch_id="b", received_us=now_us)]
        )


def measure(started: Servers, batches: Batches) -> dict[str, float]:
    """Milliseconds of PostgreSQL's processor time, and kilobytes of its log, for a batch."""
    blocks = [batches.block() for _ in range(BATCHES)]
    started.admin.execute("CHECKPOINT")
    server, logged = [started.processes["postgresql"]], started.count(_WAL)
    before = processor_seconds(server)
    with psycopg.connect(started.admin_url) as connection:
        for block in blocks:
            with connection.cursor() as cursor, cursor.copy(_COPY.encode()) as copy:
                copy.write(block)
            connection.commit()
    spent = processor_seconds(server) - before
    return {"ms": spent / BATCHES * 1e3, "wal_kb": (started.count(_WAL) - logged) / BATCHES / 1e3}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.row_ids", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="10000,1000000,10000000", help="rows that are there, parted by commas")
    parser.add_argument("--rounds", type=int, default=5, help="of which each figure is the median")
    parser.add_argument("--into", type=Path, default=default_path("-row-ids"))
    chosen = parser.parse_args()
    kept: list[dict[str, Any]] = []
    with servers(BATCH_ROWS) as started:
        kinds = {
            "in no order": Batches(started, in_no_order),
            "in the order of time": Batches(started, in_order_of_time),
        }
        for size in map(int, chosen.sizes.split(",")):
            tell(f"{size:,}")
            fill_rows(started, size)
            found: dict[str, list[dict[str, float]]] = {name: [] for name in kinds}
            for _ in range(chosen.rounds):
                for name, batches in kinds.items():
                    found[name].append(measure(started, batches))
            for name, rounds in found.items():
                medians = {what: round(statistics.median(one[what] for one in rounds), 2) for what in rounds[0]}
                kept.append({"rows": size, "ids": name} | medians)
                sys.stdout.write(json.dumps(kept[-1]) + "\n")
    content = {"commit": commit(), "machine": machine(), "versions": versions(), "figures": kept}
    chosen.into.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
