"""Measure parts, all or some, and write them into a file of `benchmarks/results`.

`python -m benchmarks.compared [--short] [--only a,b,...] [--rounds N] [--scale X] [--into FILE]`

The parts: a batches of submissions, b tiny jobs, c jobs that do nothing, d enqueueing, e pick-up on an idle queue,
f gateway to commit, bytes what Redis holds for a row. A part that is measured again replaces what the file had of it.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.compared.contenders import ALL
from benchmarks.compared.page import goals_table
from benchmarks.compared.parts import BATCH_ROWS, SHORT, Comparison, Sizes, tell
from benchmarks.compared.results import Results, default_path
from benchmarks.compared.servers import servers

_PARTS = ("a", "b", "c", "d", "e", "f", "bytes")


def sizes_of(*, short: bool, rounds: int | None, scale: float) -> Sizes:
    """How much of each, for a short or a full run, times `scale`."""
    whole = Sizes(rounds=3, batches=50, tiny=5_000, noops=5_000, enqueued=2_000) if short else Sizes()
    return Sizes(
        rounds=rounds or whole.rounds,
        batches=max(4, int(whole.batches * scale)),
        tiny=max(100, int(whole.tiny * scale)),
        noops=max(100, int(whole.noops * scale)),
        enqueued=max(100, int(whole.enqueued * scale)),
        picked_up=whole.picked_up,
    )


def main() -> None:
    """Measure and print the goals."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.compared", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="fewer rows, and of the others only plain dramatiq")
    parser.add_argument("--only", default=",".join(_PARTS), help="parts, parted by commas")
    parser.add_argument("--without", default="", help="systems to leave out, parted by commas")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--scale", type=float, default=1.0, help="how many jobs, of those of a full run")
    parser.add_argument("--into", type=Path, help="the results' file; today's of this commit unless given")
    chosen = parser.parse_args()
    wanted = chosen.only.split(",")
    if unknown := set(wanted) - set(_PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}: the parts are {', '.join(_PARTS)}")
    sizes = sizes_of(short=chosen.short, rounds=chosen.rounds, scale=chosen.scale)
    results = Results(
        chosen.into or default_path("-short" if chosen.short else ""), sizes.as_dict() | {"short": chosen.short}
    )
    left_out = chosen.without.split(",")
    contenders = [one for one in (SHORT if chosen.short else ALL) if one.name not in left_out]
    with servers(sizes.batches * BATCH_ROWS) as started:
        parts = Comparison(started, contenders, sizes, results).parts()
        for name in wanted:
            tell(f"part {name}")
            parts[name]()
    sys.stdout.write(goals_table(results.parts) + "\n")
    tell(f"the figures are in {results.path}")


if __name__ == "__main__":
    main()
