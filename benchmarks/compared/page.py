"""The tables of docs/benchmarks.md, and its chart, from a results' file: `python -m benchmarks.compared.page FILE`."""

import json
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.compared.chart import Panel, draw
from benchmarks.compared.contenders import ALL, DRAMATIQ_4, USUAL
from benchmarks.compared.goals import judged

_DOCS = Path(__file__).parents[2] / "docs"
PAGE = _DOCS / "benchmarks.md"
CHART = _DOCS / "images" / "benchmarks.svg"
BEGIN, END = "<!-- begin of what benchmarks/compared/page.py writes -->", "<!-- end of it -->"

LABELS = {one.name: one.label for one in (*ALL, DRAMATIQ_4, USUAL)} | {
    "copy_text": "COPY, text, 1 connection",
    "copy_binary": "COPY, binary, 1 connection",
    "copy_text_2": "COPY, text, 2 connections",
    "copy_binary_2": "COPY, binary, 2 connections",
    "gateway": "Penstock's gateway",
}
_PARTS = {
    "a": "(a) batches of 1,000 rows, rows/s",
    "b": "(b) tiny jobs, jobs/s",
    "c": "(c) jobs that do nothing, jobs/s",
    "d": "(d) enqueueing, jobs/s",
    "e": "(e) pick-up on an idle queue, ms",
    "f": "(f) gateway to commit, rows/s",
    "bytes": "bytes in Redis for a row that waits",
}


def label(name: str) -> str:
    """Who was measured, in words."""
    plain = name.removesuffix("_bulk")
    return LABELS.get(plain, plain) + (", in bulk" if name != plain else "")


def number(value: float) -> str:
    """Four figures at the most."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def goals_table(parts: Mapping[str, Any]) -> str:
    """The goals as a table of Markdown."""
    lines = ["| goal | measured | rounds | floor | goal | |", "|---|---|---|---|---|---|"]
    for row in judged(parts):
        sign = "≤" if row["most"] else "≥"
        bars = f"{sign} {row['floor']:g} | {sign} {row['aim']:g}"
        if "figure" not in row:
            lines.append(f"| {row['goal']} | not measured | | {bars} | |")
            continue
        found, spread = number(row["figure"]), f"{number(row['low'])} to {number(row['high'])}"
        lines.append(f"| {row['goal']} | {found} | {spread} | {bars} | {row['verdict']} |")
    return "\n".join(lines)


def part_table(part: Mapping[str, Any], heading: str, *, least_first: bool) -> str:
    """The medians of a part, best first, as a table of Markdown; with what a job (or batch) took of the processor."""
    medians = {name: statistics.median(values) for name, values in part["values"].items()}
    used = part["processor_us"]
    parties = ("workers", "postgresql", "redis", "producer") if used else ()
    lines = ["| " + " | ".join([heading, "median", "rounds", *(f"{who}, µs" for who in parties)]) + " |"]
    lines.append("|---" * (3 + len(parties)) + "|")
    for name in sorted(medians, key=lambda one: medians[one], reverse=not least_first):
        values = part["values"][name]
        cells = [label(name), number(medians[name]), f"{number(min(values))} to {number(max(values))}"]
        cells += [_processor(used.get(name, {}), who) for who in parties]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _processor(used: Mapping[str, list[float]], who: str) -> str:
    return number(statistics.median(used[who])) if who in used else ""


def panels(parts: Mapping[str, Any]) -> list[Panel]:
    """What the chart shows."""
    found = []
    for name in ("a", "b"):
        if name in parts:
            medians = {label(who): statistics.median(values) for who, values in parts[name]["values"].items()}
            found.append(Panel(_PARTS[name], medians))
    return found


def written(results: Mapping[str, Any]) -> str:
    """What stands between the marks."""
    machine, versions = results["machine"], results["versions"]
    parts = results["parts"]
    told = ", ".join(f"{name} {version}" for name, version in versions.items() if name != "penstock")
    pieces = [
        f"Commit {results['commit']}; {machine['cores']} cores ({machine['processor']}), {machine['memory_gib']} GiB,"
        f" Linux {machine['kernel']}; load average {_load(parts)}, which the measurement itself is part of; {told}.",
        f"Measured: {_amounts(parts)}.",
        goals_table(parts),
    ]
    least_first = ("e", "bytes")
    pieces += [
        part_table(parts[name], heading, least_first=name in least_first)
        for name, heading in _PARTS.items()
        if name in parts
    ]
    return "\n\n".join(pieces)


def _amounts(parts: Mapping[str, Any]) -> str:
    """How much was measured: parts may have been measured by runs of other sizes."""
    told = []
    for name, part in parts.items():
        options = part["options"]
        told.append(f"{name}: {options['rounds']} rounds of {options['batches']} batches, {options['tiny']:,} jobs")
    return "; ".join(told) if len({text.partition(": ")[2] for text in told}) > 1 else told[0].partition(": ")[2]


def _load(parts: Mapping[str, Any]) -> str:
    seen = [one for part in parts.values() for one in part["load_average"]]
    return f"{min(seen)} to {max(seen)}"


def replace_between(page: str, text: str) -> str:
    """The page with another text between the marks.

    Raises:
        ValueError: it has no marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page needs the marks {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def main() -> None:
    """Write the page and the chart."""
    results = json.loads(Path(sys.argv[1]).read_text())
    PAGE.write_text(replace_between(PAGE.read_text(), written(results)))
    CHART.write_text(draw(panels(results["parts"])))


if __name__ == "__main__":
    main()
