"""What `penstock audit` tells a person: the verdict of a verification, and a report."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from penstock.workers.audit.verification import Verdict
from penstock.workers.cli.output import table, to_the_second

#: Problems that a person is shown; --json has more.
_SHOWN = 20


def told_verdict(verdict: Verdict) -> str:
    """The verdict in some lines; the first problem is where to look."""
    lines = [f"{verdict.seals:,} seal(s) over {verdict.actions:,} action(s); {verdict.waiting:,} wait for theirs"]
    if verdict.retained_since is not None:
        since = verdict.retained_since.isoformat(timespec="seconds")
        lines.append(f"verified from seal {verdict.begins_at} on: what was sealed up to {since} left by retention")
    if verdict.newest is not None:
        keyed = f"keyed from seal {verdict.keyed_from} on" if verdict.keyed_from else "made without a key"
        lines.append(f"{keyed}; anchor {verdict.newest.anchor}")
    if verdict.is_whole:
        return "\n".join([*lines, "whole: nothing was changed, removed or added since it was sealed"])
    shown = [f"  {problem.problem}: {problem.message}" for problem in verdict.problems[:_SHOWN]]
    more = len(verdict.problems) - len(shown)
    return "\n".join(
        [*lines, "BROKEN, first where it says so first:", *shown, *([f"  and {more} more"] if more else [])]
    )


def told_report(report: Mapping[str, Any]) -> str:
    """The report as a text."""
    return "\n".join(_lines(report))


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    period, access, incidents = report["period"], report["access"], report["incidents"]
    yield f"Report from {to_the_second(period['from'])} to {to_the_second(period['to'])}"
    yield from ("", "Access")
    yield f"  {access['log_ins']:,} log-in(s), {access['reveals']:,} reveal(s) of redacted values"
    yield "  refused: " + ", ".join(f"{name} {count:,}" for name, count in access["refusals"].items())
    yield "  keys: " + ", ".join(f"{verb} {count:,}" for verb, count in access["keys"].items())
    yield from _indented(access["by_person"], ("person", "log_ins", "reveals", "refused"))
    yield from ("", "Actions")
    by_kind = [{"action": name, "count": count} for name, count in report["actions"]["by_kind"].items()]
    yield from _indented(by_kind, ("action", "count"))
    yield from _indented(report["actions"]["by_person"], ("person", "actions", "first", "last"))
    yield from ("", "Incidents")
    yield f"  PostgreSQL was there for {incidents['database_up_share']:.4%} of the time, as far as it is recorded"
    for name in ("circuits", "pauses", "database_outages"):
        yield f"  {name.replace('_', ' ')}: {len(incidents[name]):,}"
        yield from _indented(incidents[name], ("what", "by", "since", "until", "seconds_to_recovery"))
    yield from _letters(incidents["dead_letters"])
    yield from ("", "Backups", f"  {_backups(report['backups'])}")
    yield from ("", "Persons' data")
    if report["erasures"] is None:
        yield "  not known here"
    else:
        yield from _indented(report["erasures"], ("kind", "asked", "done", "longest_seconds"))
    yield from _chain(report["chain"])


def _letters(letters: Mapping[str, Any]) -> Iterator[str]:
    yield f"  dead letters: {letters['opened']:,} opened, {letters['settled']:,} settled," + (
        f" {letters['open_at_the_end']:,} open at the end"
    )
    if letters["settled"]:
        yield f"  time to settle: median {letters['median_seconds']:,} s, longest {letters['longest_seconds']:,} s"


def _backups(backups: Mapping[str, Any] | None) -> str:
    if backups is None:
        return "not known here: PENSTOCK_BACKUP_DIR is not set"
    told = (
        f"{backups['made']:,} made, {backups['usable']:,} of them usable, {backups['verified']:,} restored to prove it"
    )
    return f"{told}; newest {backups['newest']}" if backups["newest"] else told


def _chain(chain: Mapping[str, Any]) -> Iterator[str]:
    state = "whole" if chain["whole"] else f"BROKEN: {chain['first']['message']}"
    yield from ("", "Chain", f"  {state}; {chain['seals']:,} seal(s) over {chain['actions']:,} action(s)")
    yield f"  anchor {chain['anchor']}"


def _indented(items: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in table(items, columns).splitlines()] if items else []
