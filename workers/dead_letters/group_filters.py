"""Which groups of dead letters are meant."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from penstock.workers.dead_letters.filters import PAGE_PARAMETERS, filter_error, single, unknown_filter

#: Parameter and attribute of what is compared as it is with a column of the same name.
_EQUAL = ("kind", "code")
_SUBJECTS = {"form": "form_id", "account": "account", "platform": "platform", "tenant": "tenant"}
_TEXT_LIMIT = 200
#: As `Group.is_snoozed` says it.
_IS_SNOOZED = """coalesce(found.snoozed_until, '-infinity') > now()
    AND found.open < 2 * greatest(coalesce(found.snoozed_open, found.open), 1)"""


class GroupState(StrEnum):
    """Which groups by what is left of them."""

    #: Those with open letters.
    OPEN = "open"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFilter:
    """Groups that meet all of these; what is None does not matter.

    Attributes:
        state: those with open letters, unless said otherwise.
        form_id, account, platform, tenant: that are affected by it.
        snoozed: False leaves out those that are snoozed, True all others.
        text: stands in the message, error, code or site, capitals aside.
    """

    kind: str | None = None
    code: str | None = None
    state: GroupState = GroupState.OPEN
    form_id: str | None = None
    account: str | None = None
    platform: str | None = None
    tenant: str | None = None
    snoozed: bool | None = None
    text: str | None = None

    @classmethod
    def parse(cls, given: Mapping[str, str | Sequence[str]], *, also: Collection[str] = PAGE_PARAMETERS) -> Self:
        """Read the parameters of a query: `kind code state form account platform tenant snoozed(yes|no) text`.

        Raises:
            InvalidInputError: `REQUEST_FILTER_INVALID`, naming the parameter.
        """
        known = {*_EQUAL, *_SUBJECTS, "state", "snoozed", "text"}
        unknown = sorted(set(given) - known - set(also))
        if unknown:
            raise unknown_filter(unknown[0], sorted(known))
        told = {name: value for name in known & set(given) if (value := single(name, given[name]))}
        state = told.get("state", GroupState.OPEN)
        if state not in set(GroupState):
            raise filter_error("state", f"{state[:80]!r} is none", "Use open or any.")
        if told.get("snoozed", "yes") not in {"yes", "no"}:
            raise filter_error("snoozed", f"{told['snoozed'][:80]!r} is none", "Use yes or no.")
        return cls(
            **{name: told[name] for name in _EQUAL if name in told},
            **{attribute: told[name] for name, attribute in _SUBJECTS.items() if name in told},
            state=GroupState(state),
            snoozed=told["snoozed"] == "yes" if "snoozed" in told else None,
            text=told.get("text", "")[:_TEXT_LIMIT] or None,
        )

    def as_query(self) -> list[tuple[str, str]]:
        """The parameters that `parse` makes this filter of; the default state is left out."""
        given = {name: getattr(self, name) for name in _EQUAL}
        given |= {name: getattr(self, attribute) for name, attribute in _SUBJECTS.items()}
        given["state"] = None if self.state is GroupState.OPEN else str(self.state)
        given["snoozed"] = None if self.snoozed is None else "yes" if self.snoozed else "no"
        given["text"] = self.text
        return [(name, value) for name, value in given.items() if value]

    def where(self) -> tuple[str, dict[str, Any]]:
        """The condition on `found`, a row of `penstock.dead_letter_groups`, and its named parameters."""
        conditions = ["found.open > 0"] if self.state is GroupState.OPEN else ["found.total > 0"]
        parameters: dict[str, Any] = {}
        for name in _EQUAL:
            if getattr(self, name) is not None:
                conditions.append(f"found.{name} = %({name})s")
                parameters[name] = getattr(self, name)
        for subject, attribute in _SUBJECTS.items():
            if getattr(self, attribute) is not None:
                conditions.append(self._affects(subject))
                parameters[subject] = getattr(self, attribute)
        if self.snoozed is not None:
            conditions.append(f"({_IS_SNOOZED}) = {self.snoozed}")
        if self.text is not None:
            conditions.append(
                "strpos(lower(concat_ws(' ', found.sample_message, found.error, found.code, found.site)),"
                " lower(%(text)s)) > 0"
            )
            parameters["text"] = self.text
        return " AND ".join(conditions), parameters

    def _affects(self, subject: str) -> str:
        open_too = " AND about.open > 0" if self.state is GroupState.OPEN else ""
        return (
            "EXISTS (SELECT FROM penstock.dead_letter_group_subjects about WHERE about.fingerprint = found.fingerprint"
            f" AND about.subject = '{subject}' AND about.value = %({subject})s{open_too})"
        )
