"""What worker processes hold in memory while they store millions of rows: flat, or growing?

`python -m benchmarks.memory [--rows N] [--peer-rows N] [--systems penstock,dramatiq,...] [--into FILE]`

Rows come in portions; after each, when all are committed, it is looked what the workers hold (all processes of a system
together). Then the tables are emptied, so that the disk need not hold them all. A first portion is not counted: it
opens connections and fills caches. What Redis holds for a row that waits is part `bytes` of `benchmarks.compared`.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.compared.contenders import ALL, Contender
from benchmarks.compared.parts import tell
from benchmarks.compared.processor import resident_bytes
from benchmarks.compared.results import commit, default_path, machine, versions
from benchmarks.compared.servers import Servers, servers
from benchmarks.compared.sessions import running

PORTION = 100_000
_MIB = 2**20
_EMPTY = "TRUNCATE penstock.submissions, penstock.submission_batches, penstock.base_batches"


def measure(contender: Contender, started: Servers, rows: int) -> dict[str, Any]:
    """MiB that its workers hold after each portion of rows, the first of which is not counted."""
    held: list[float] = []
    portion = len(started.rows)
    with running(contender, started) as session:
        for number in range(rows // portion + 1):
            session.batches(f"m{number}", portion)
            held.append(round(resident_bytes(session.workers) / _MIB, 1))
            started.admin.execute(_EMPTY.encode())
            if number % 10 == 0:
                tell(f"  {contender.label}: {number * portion:,} rows, {held[-1]} MiB")
    return {"rows": portion * (len(held) - 1), "mib": held[1:]} | growth(held[1:], portion)


def growth(held: list[float], portion: int) -> dict[str, float]:
    """The least squares' line through what was held: MiB in the first portion, and MiB a million rows.

    The second is that of the second half: what a process still takes as it warms up is no growth.
    """
    later = held[len(held) // 2 :]
    middle, mean = (len(later) - 1) / 2, sum(later) / len(later)
    spread = sum((place - middle) ** 2 for place in range(len(later)))
    slope = sum((place - middle) * (value - mean) for place, value in enumerate(later)) / spread if spread else 0.0
    return {"first_mib": held[0], "last_mib": held[-1], "mib_a_million_rows": round(slope * 1_000_000 / portion, 2)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000, help="for Penstock")
    parser.add_argument("--peer-rows", type=int, default=2_000_000, help="for each of the others")
    parser.add_argument("--portion", type=int, default=PORTION)
    parser.add_argument("--systems", default=",".join(one.name for one in ALL if one.share == 1))
    parser.add_argument("--into", type=Path, default=default_path("-memory"))
    chosen = parser.parse_args()
    kept: dict[str, Any] = json.loads(chosen.into.read_text())["systems"] if chosen.into.exists() else {}
    by_name = {one.name: one for one in ALL}
    with servers(chosen.portion) as started:
        for name in chosen.systems.split(","):
            rows = chosen.rows if name == "penstock" else chosen.peer_rows
            found = kept[name] = measure(by_name[name], started, rows)
            sys.stdout.write(
                f"{by_name[name].label}: {found['first_mib']} MiB at first, {found['last_mib']} after"
                f" {found['rows']:,} rows, {found['mib_a_million_rows']} more with each million of the second half\n"
            )
            content = {"commit": commit(), "machine": machine(), "versions": versions(), "systems": kept}
            chosen.into.parent.mkdir(parents=True, exist_ok=True)
            chosen.into.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
