"""`penstock dead requeue`: new lives for jobs, one by one or as a replay."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.cli.dead_options import (
    all_option,
    chosen_filter,
    filter_options,
    ids_argument,
    needed_reason,
    why_option,
)
from penstock.workers.cli.dead_replay import emit_replay, wait_for_end
from penstock.workers.cli.dead_store import DeadLetters, open_dead_letters
from penstock.workers.cli.dead_tell import tell_dry_run
from penstock.workers.cli.operator import login_name, yes_option
from penstock.workers.cli.output import emit, json_option
from penstock.workers.dead_letters.decisions import Decided
from penstock.workers.dead_letters.editing import Edit, propose
from penstock.workers.dead_letters.letters import Became
from penstock.workers.dead_letters.replay import ReplayPlan
from penstock.workers.telemetry.exporting import exporting_traces

#: Letters by id up to which no replay is made of them, unless its options are given.
_FEW = 10
_LOOK_EVERY_SECONDS = 0.3
_LOST = "lost"


@click.command(epilog="Example: penstock dead requeue --code FORM_NOT_FOUND --reason 'the form is there now' --wait")
@ids_argument
@filter_options
@all_option
@click.option("--dry-run", is_flag=True, help="Tell what would happen, and send nothing.")
@click.option("--canary", type=int, help="Send so many first, and the rest once they are done.  [default: 5]")
@click.option("--pace", type=float, help="Letters a second, after the canary.  [default: 50]")
@click.option("--stop-share", type=float, help="Stop where a larger share died again, 0 to 1.  [default: 0.2]")
@click.option(
    "--edit",
    "edit_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Send the payload (JSON) of this file in the place of the one letter's own.",
)
@click.option("--wait", is_flag=True, help="Wait for what becomes of them; exit code 1 where they die again.")
@why_option
@yes_option
@json_option
def requeue(
    ids: tuple[UUID, ...],
    everything: bool,
    dry_run: bool,
    canary: int | None,
    pace: float | None,
    stop_share: float | None,
    edit_path: Path | None,
    wait: bool,
    reason: str | None,
    yes: bool,
    as_json: bool,
    **options: Any,
) -> int | None:
    """Give the jobs of open letters a new life: up to 10 by id at once, any number by options as a replay.

    A replay sends a canary first, keeps a pace, and stops by itself where jobs die again.
    """
    why = needed_reason(reason, needed=not dry_run)
    chosen = chosen_filter(ids, everything, options)
    how = {"canary": canary, "pace_per_second": pace, "stop_share": stop_share}
    told = {name: value for name, value in how.items() if value is not None}
    plan = ReplayPlan(by=login_name(), reason=why, ids=ids, filter=chosen, **told)  # type: ignore[arg-type]
    if edit_path is not None and (len(set(ids)) != 1 or told):
        raise InvalidInputError(Code.REQUEST_USAGE, "--edit is for one letter by its id, without a replay's options")
    plan.selection()
    with exporting_traces(os.environ, "dead"), open_dead_letters() as store:
        order = _Order(store, plan, yes=yes, wait=wait, as_json=as_json)
        if edit_path is not None:
            return order.edited(edit_path, dry_run=dry_run)
        if dry_run:
            run = store.replays.dry_run(plan)
            emit({"dry_run": True, **run.as_dict()}, as_json, lambda: tell_dry_run(run))
            return None
        if ids and len(set(ids)) <= _FEW and not told:
            return order.directly()
        order.as_replay()
        return None


@dataclass(frozen=True, slots=True)
class _Order:
    """What was asked for, and how it is answered."""

    store: DeadLetters
    plan: ReplayPlan
    yes: bool
    wait: bool
    as_json: bool

    def as_replay(self) -> None:
        if not self.yes:
            run = self.store.replays.dry_run(self.plan)
            click.echo(tell_dry_run(run), err=True)
            click.confirm(
                f"Replay {run.count:,} dead letter(s){'' if run.exact else ' or more'}?", abort=True, err=True
            )
        found = self.store.replays.start(self.plan)
        if self.wait:
            wait_for_end(self.store, found, self.as_json)
        else:
            emit_replay(found, self.as_json)

    def edited(self, path: Path, *, dry_run: bool) -> int | None:
        (dead_id,) = set(self.plan.ids)
        detail = self.store.search.show(dead_id)
        before = self.store.search.payload(dead_id)
        edit = propose(detail, before, path.read_bytes(), limits=self.store.settings.limits)
        if not dry_run:
            return self.directly(edit)
        value = {"dry_run": True, "id": str(dead_id), "difference": list(edit.difference)}
        emit(value, self.as_json, lambda: "\n".join(["nothing was sent; it would change", *_changes(edit)]))
        return None

    def directly(self, edit: Edit | None = None) -> int | None:
        ids = list(dict.fromkeys(self.plan.ids))
        for one in ids:
            self.store.search.show(one)
        if not self.yes:
            told = "\n".join(["", *_changes(edit)]) if edit is not None else ""
            click.confirm(f"Requeue {len(ids):,} dead letter(s)?{told}", abort=True, err=True)
        decided = self.store.decisions.requeue(ids, self.plan.by, self.plan.reason, edit=edit)
        became = self._outcomes(decided) if self.wait else {}
        value: dict[str, Any] = {"requeued": [str(one) for one in decided.done]}
        value["skipped"] = {str(one): why for one, why in decided.skipped.items()}
        value |= {"became": {str(one): str(outcome) for one, outcome in became.items()}} if self.wait else {}
        emit(value, self.as_json, lambda: _tell(decided, became))
        failed = not decided.done or any(outcome is not Became.DONE for outcome in became.values())
        return 1 if failed else None

    def _outcomes(self, decided: Decided) -> dict[UUID, Became | str]:
        """What became of their jobs; waits as long as it takes."""
        found: dict[UUID, Became | str] = {}
        while len(found) < len(decided.done):
            for one in decided.done:
                became = self.store.search.show(one).letter.became
                if became is not Became.WAITING:
                    # Of a letter that is open again its job was lost.
                    found[one] = _LOST if became is None else became
            if len(found) < len(decided.done):
                time.sleep(_LOOK_EVERY_SECONDS)
        return found


def _tell(decided: Decided, became: dict[UUID, Became | str]) -> str:
    outcome = {Became.DONE: ", and is done", Became.DIED: ", and died again", _LOST: ", and lost: it is open again"}
    lines = [f"{one} is requeued{outcome.get(became[one], '') if one in became else ''}" for one in decided.done]
    return "\n".join([*lines, *(f"{one} is not requeued: {why}" for one, why in decided.skipped.items())])


def _changes(edit: Edit) -> list[str]:
    """The difference, by path and without values."""
    if not edit.difference:
        return ["  nothing"]
    return [
        f"  {change['path']}: {change['before'] or 'absent'} -> {change['after'] or 'absent'}"
        for change in edit.difference
    ]
