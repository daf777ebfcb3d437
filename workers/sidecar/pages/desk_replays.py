"""The desk's part for replays."""

from typing import Any
from uuid import UUID

from penstock.workers.dead_letters.filters import LetterFilter
from penstock.workers.dead_letters.replay import ReplayPlan
from penstock.workers.dead_letters.replays import Replays
from penstock.workers.sidecar.pages.desk_reads import POSTGRESQL, Reads
from penstock.workers.sidecar.pages.filters import mapping_of
from penstock.workers.sidecar.pages.needs import ROWS, PageOf, ReplayOrder


class ReplayDesk(Reads):
    """Replays."""

    def dry_run(self, order: ReplayOrder) -> Any:
        """What a replay would do now. Asked anew each time: an operator decides by it."""
        return self._replays().dry_run(_plan(order))

    def start(self, order: ReplayOrder) -> Any:
        """Start a replay; from here on it has an address."""
        return self._replays().start(_plan(order))

    def replay(self, replay_id: UUID) -> Any:
        """A replay as it stands."""
        return self._read(POSTGRESQL, ("replay", replay_id), lambda: self._replays().show(replay_id))

    def replays(self, cursor: str | None) -> PageOf:
        """A page of replays, the newest first."""
        page = self._read(POSTGRESQL, ("replays", cursor), lambda: self._replays().list(limit=ROWS, cursor=cursor))
        return PageOf(page.items, page.next)

    def change_replay(self, replay_id: UUID, verb: str, by: str, reason: str) -> None:
        """Pause, resume or cancel it."""
        replays = self._replays()
        act = {"pause": replays.pause, "resume": replays.resume, "cancel": replays.cancel}[verb]
        act(replay_id, by, reason)

    def _replays(self) -> Replays:
        return self._services.replays


def _plan(order: ReplayOrder) -> ReplayPlan:
    chosen = None if order.ids else LetterFilter.parse(mapping_of(order.query))
    return ReplayPlan(
        by=order.by,
        reason=order.reason,
        ids=tuple(order.ids),
        filter=chosen,
        canary=order.canary,
        pace_per_second=order.pace_per_second,
        stop_share=order.stop_share,
    )
