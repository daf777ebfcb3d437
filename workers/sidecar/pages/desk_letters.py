"""The desk's part for dead letters and their groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

from penstock.schemas.errors import InvalidInputError
from penstock.workers.dead_letters import editing
from penstock.workers.dead_letters.filters import LetterFilter
from penstock.workers.dead_letters.group_filters import GroupFilter
from penstock.workers.dead_letters.group_rows import GroupRows, RowFacts
from penstock.workers.dead_letters.groups import Group, GroupOrder
from penstock.workers.dead_letters.letters import LetterDetail
from penstock.workers.dead_letters.payloads import Payloads, read_json
from penstock.workers.sidecar.pages.desk_reads import POSTGRESQL, Reads
from penstock.workers.sidecar.pages.harmless import escaped_json
from penstock.workers.sidecar.pages.needs import ROWS, Changed, Edited, PageOf, Refused

#: Characters of a message that can't be read which a page shows.
_RAW_SHOWN = 2_000


class With:
    """A value with further members for its page."""

    def __init__(self, value: Any, **further: Any) -> None:
        self._value = value
        self.__dict__.update(further)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._value, name)


@dataclass(frozen=True, slots=True)
class GroupPage:
    """A group with what its page shows beside it.

    Attributes:
        trend: deaths in each of the last 48 hours.
        affected: for each subject rows of value, open and total.
        runbook: the address of its code's page.
        sentry: the address in Sentry; None where none is known.
    """

    group: Group
    trend: Sequence[int]
    affected: Mapping[str, Sequence[tuple[str, int, int]]]
    releases: Sequence[str]
    remedy: str | None
    runbook: str
    sentry: str | None


class LetterDesk(Reads):
    """Dead letters."""

    def groups(self, query: Mapping[str, Any], cursor: str | None) -> PageOf:
        """A page of groups, each with its trend and whom it affects."""
        order = GroupOrder.LAST_SEEN if query.get("order") == GroupOrder.LAST_SEEN else GroupOrder.OPEN
        chosen = GroupFilter.parse({name: value for name, value in query.items() if name != "order"})

        def ask() -> tuple[Any, Mapping[str, RowFacts]]:
            page = self._services.groups.list(chosen, limit=ROWS, cursor=cursor, order=order)
            return page, GroupRows(self._services.pool).facts([group.fingerprint for group in page.items])

        page, facts = self._read(POSTGRESQL, ("groups", chosen, order, cursor), ask)
        none = RowFacts([], "")
        rows = [(group, facts.get(group.fingerprint, none)) for group in page.items]
        return PageOf([With(group, trend=one.trend, affected=one.affected) for group, one in rows], page.next)

    def group(self, fingerprint: str) -> GroupPage:
        """A group, whom it hurts, and since when."""
        found = self._read(POSTGRESQL, ("group", fingerprint), lambda: self._services.groups.show(fingerprint))
        affected = {
            name: [(one.value, one.open, one.total) for one in subjects]
            for name, subjects in found.subjects.items()
            if subjects
        }
        return GroupPage(
            group=found.group,
            trend=[died for _, died in found.hours],
            affected=affected,
            releases=[one.value for one in found.releases],
            remedy=found.group.remedy,
            runbook=f"/codes/{found.group.code}",
            sentry=self._sentry(found.group.sentry_id),
        )

    def annotate(self, fingerprint: str, by: str, reason: str, note: str) -> None:
        """Keep a note with a group; an empty one takes the last away."""
        self._services.groups.annotate(fingerprint, by, reason, note=note or None)

    def snooze(self, fingerprint: str, by: str, reason: str, until: datetime | None) -> None:
        """Put a group off until then, or until twice as many are open; None ends that."""
        self._services.groups.annotate(fingerprint, by, reason, snoozed_until=until)

    def letters(self, query: Mapping[str, Any], cursor: str | None) -> PageOf:
        """A page of letters."""
        chosen = LetterFilter.parse(query)
        page = self._read(
            POSTGRESQL,
            ("letters", tuple(chosen.as_query()), cursor),
            lambda: self._services.letters.list(chosen, limit=ROWS, cursor=cursor),
        )
        return PageOf(page.items, page.next)

    def count(self, query: Mapping[str, Any]) -> Any:
        """How many letters a filter chooses, up to a ceiling."""
        chosen = LetterFilter.parse(query)
        return self._read(POSTGRESQL, ("count", tuple(chosen.as_query())), lambda: self._services.letters.count(chosen))

    def letter(self, dead_id: UUID) -> Any:
        """All that is known of one letter but its payload."""
        found = self._detail(dead_id)
        members = {"runbook": f"/codes/{found.letter.code}", "sentry": self._sentry(found.sentry_id)}
        return With(found, **members)

    def _detail(self, dead_id: UUID) -> LetterDetail:
        found: LetterDetail = self._read(POSTGRESQL, ("letter", dead_id), lambda: self._services.letters.show(dead_id))
        return found

    def redacted(self, dead_id: UUID) -> Any:
        """The payload with the values replaced that its kind marks as sensitive."""
        kind = self._detail(dead_id).letter.kind
        return self._read(POSTGRESQL, ("redacted", dead_id), lambda: self._payloads().redacted(dead_id, kind))

    def reveal(self, dead_id: UUID, by: str, reason: str) -> Any:
        """The payload as it is; who saw it and why is recorded before anybody sees it."""
        text = self._payloads().reveal(dead_id, by, reason)
        found = read_json(text)
        return found if found is not None else {"not JSON": text[:_RAW_SHOWN].decode(errors="replace")}

    def _payloads(self) -> Payloads:
        return Payloads(self._services.transactions, self._services.letters)

    def editable(self, dead_id: UUID, by: str, reason: str) -> str:
        """The payload's text to edit, in the shape of its kind's present version; revealing it is noted."""
        text = self._payloads().reveal(dead_id, by, reason)
        return escaped_json(editing.editable(self._detail(dead_id), text))

    def propose(self, dead_id: UUID, text: str) -> Edited | Refused:
        """What an edit changes, or each of its faults."""
        try:
            edit = editing.propose(self._detail(dead_id), self._services.letters.payload(dead_id), text)
        except InvalidInputError as error:
            return Refused(error.details.get("faults") or [{"path": "", "message": f"{error.message}. {error.remedy}"}])
        changes = [Changed(str(one["path"]), one["before"], one["after"]) for one in edit.difference]
        return Edited(changes, edit)

    def requeue(self, dead_id: UUID, by: str, reason: str, edited: Edited | None = None) -> bool:
        """Send one letter back; False where it was settled before."""
        decided = self._services.decisions.requeue([dead_id], by, reason, edit=edited.edit if edited else None)
        return bool(decided.done)

    def discard(self, ids: Sequence[UUID], by: str, reason: str) -> int:
        """Discard letters; how many were open until then."""
        return int(self._services.decisions.discard(ids, by, reason))

    def _sentry(self, event: str | None) -> str | None:
        template = self._services.settings.sentry_url
        return template.replace("{event}", quote(event, safe="")) if template and event else None
