"""Dead letters and replays in words, for a terminal."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from penstock.workers.dead_letters.groups import Group
from penstock.workers.dead_letters.letters import Letter, LetterDetail
from penstock.workers.dead_letters.replay import Replay
from penstock.workers.dead_letters.replay_plan import DryRun

LETTER_COLUMNS = ("died", "id", "code", "kind", "tenant", "about", "attempts", "state", "message")
GROUP_COLUMNS = ("open", "total", "group", "code", "kind", "last", "message")
REPLAY_COLUMNS = ("created", "id", "status", "total", "done", "died", "waiting", "by", "told")

_MESSAGE_WIDTH = 60
#: Entries of a history, and lines of a payload, that a person is shown.
_ATTEMPTS, _PAYLOAD_LINES = 30, 200
_NOT_REPEATED = frozenset({"at", "outcome", "traceback", "own", "causes"})


def printable(text: str) -> str:
    """`text` without what a terminal would obey: such characters as JSON escapes them."""
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def letter_row(letter: Letter) -> dict[str, Any]:
    """A letter as a row of `LETTER_COLUMNS`."""
    return {
        "died": _moment(letter.died_at),
        "id": letter.dead_id,
        "code": printable(letter.code),
        "kind": printable(letter.kind),
        "tenant": printable(letter.tenant),
        "about": printable(letter.form_id or letter.account or letter.platform or ""),
        "attempts": letter.attempts,
        "state": _state(letter),
        "message": _short(letter.message),
    }


def _state(letter: Letter) -> str:
    return str(letter.state) if letter.became is None else f"{letter.state}, {letter.became}"


def group_row(group: Group) -> dict[str, Any]:
    """A group as a row of `GROUP_COLUMNS`."""
    facts = {"open": f"{group.open:,}", "total": f"{group.total:,}", "group": group.fingerprint}
    facts |= {"code": printable(group.code), "kind": printable(group.kind)}
    return facts | {"last": _moment(group.last_seen), "message": _short(group.sample_message)}


def replay_row(replay: Replay) -> dict[str, Any]:
    """A replay as a row of `REPLAY_COLUMNS`."""
    facts = {"created": _moment(replay.created_at), "id": replay.replay_id, "status": str(replay.status)}
    facts |= {name: f"{getattr(replay, name):,}" for name in ("total", "done", "died", "waiting")}
    return facts | {"by": printable(replay.created_by), "told": printable(replay.told)}


def tell_letter(detail: LetterDetail, payload: Any, how: str) -> str:
    """All of one letter; `how` says whether its payload is redacted."""
    letter = detail.letter
    about = [f"{name} {value}" for name, value in _subjects(letter) if value]
    key = f", idempotency key {detail.idempotency_key}" if detail.idempotency_key else ""
    lines = [
        f"{letter.dead_id}: {_state(letter)}; died {_moment(letter.died_at)}",
        f"  was to do   {letter.kind} in {letter.queue}, {', '.join([*about, f'tenant {letter.tenant}'])}",
        f"              job {letter.job_id}{key}, enqueued {_moment(detail.enqueued_at)}",
        f"  went wrong  {letter.code}: {letter.message}{f' ({letter.error})' if letter.error else ''}",
        f"  what to do  {detail.remedy or 'this release does not know the code'}",
        f"  group {letter.group}, attempts {letter.attempts}, release {letter.release or '?'}"
        f"{f', trace {detail.trace_id}' if detail.trace_id else ''}",
    ]
    if detail.resolved_at is not None:
        told = f"{letter.state} {_moment(detail.resolved_at)} by {detail.resolved_by}: {detail.resolution_reason}"
        lines.append(f"  {told}{f' (replay {detail.replay_id})' if detail.replay_id else ''}")
    elif detail.resolution_reason is not None:
        lines.append(f"  open again: {detail.resolution_reason}")
    lines += [f"  died also   {_moment(one.died_at)} as {one.dead_id}, {one.state}" for one in detail.other_deaths]
    lines += ["", "attempts", *(f"  {line}" for line in _attempts(detail.history))]
    frames = list(_frames(detail.history))
    lines += ["", "traceback of the last one (> ours)", *frames] if frames else []
    lines += ["", f"payload ({how})", *_payload(payload)]
    return "\n".join(printable(line).rstrip() for line in lines)


def _subjects(letter: Letter) -> Sequence[tuple[str, str | None]]:
    return (("form", letter.form_id), ("account", letter.account), ("platform", letter.platform))


def _attempts(history: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if len(history) > _ATTEMPTS:
        yield f"({len(history) - _ATTEMPTS:,} earlier ones are left out; see --json)"
    for entry in history[-_ATTEMPTS:]:
        rest = [f"{name} {value}" for name, value in entry.items() if name not in _NOT_REPEATED and value is not None]
        yield f"{entry.get('at', '')}  {entry.get('outcome', '')}  {', '.join(rest)}"


def _frames(history: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    last: Mapping[str, Any] = next((entry for entry in reversed(history) if entry.get("traceback")), {})
    own = last.get("own") or []
    for at, frame in enumerate(last.get("traceback", [])):
        is_ours = (at < len(own) and own[at]) if own and isinstance(own[0], bool) else at in own
        yield f"  {'>' if is_ours else ' '} {frame}"


def _payload(payload: Any) -> list[str]:
    if payload is None:
        return ["  it can't be read"]
    text = payload if isinstance(payload, str) else json.dumps(payload, indent=2, ensure_ascii=False)
    lines = [f"  {line}" for line in text.split("\n")]
    over = len(lines) - _PAYLOAD_LINES
    return lines if over <= 0 else [*lines[:_PAYLOAD_LINES], f"  ({over:,} more lines; see --json)"]


def tell_dry_run(run: DryRun) -> str:
    """What a replay would do."""
    more = "" if run.exact else " or more; the figures are of so many"
    lines = [f"{run.count:,}{more} would be requeued; nothing was sent"]
    if run.oldest is not None:
        lines.append(f"  the oldest died {_moment(run.oldest)}")
    for title, counts in (("by code", run.by_code), ("by kind", run.by_kind)):
        lines += [f"  {title}: {', '.join(f'{name} {count:,}' for name, count in counts.items())}"] if counts else []
    for held in run.held:
        until = f" until {_moment(held.until)}" if held.until else ""
        lines.append(f"  {held.letters:,} would be held by {held.gate}{until}: {held.reason}")
    if not run.gates_known:
        lines.append("  whether gates would hold them is not known: Redis does not answer")
    for old in run.upcasts:
        to = (
            f"can't be brought to version {old.present}: {old.refused}" if old.refused else f"version {old.present} now"
        )
        lines.append(f"  {old.letters:,} of {old.kind} have version {old.version}; {to}")
    lines += [f"  {count:,} can't be requeued: {why}" for why, count in run.refused.items()]
    lines += [f"  such as {letter.dead_id}  {letter.code}: {_short(letter.message)}" for letter in run.sample]
    return "\n".join(printable(line) for line in lines)


def tell_replay(replay: Replay) -> str:
    """How a replay stands."""
    selection = ", ".join(
        f"{len(value):,} letters by id" if name == "ids" else f"{name} {value}"
        for name, value in replay.selection.items()
    )
    counts = ", ".join(f"{name} {getattr(replay, name):,}" for name in ("sent", "done", "died", "waiting", "skipped"))
    lines = [
        f"{replay.replay_id}: {replay.status}. {replay.told}",
        f"  ordered {_moment(replay.created_at)} by {replay.created_by}: {replay.reason}",
        f"  of {selection}: {replay.total:,} letters; {counts}, not sent {replay.unsent:,}",
        f"  canary {replay.canary}, {replay.pace_per_second:g} a second, stops above {100 * replay.stop_share:g} %",
    ]
    return "\n".join(printable(line) for line in lines)


def _moment(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _short(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= _MESSAGE_WIDTH else f"{shown[: _MESSAGE_WIDTH - 1]}…"
