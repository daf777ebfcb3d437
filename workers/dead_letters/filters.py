"""Which dead letters are meant: the same filter for pages, commands, replays and the audit."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

from penstock.schemas.encoding import compact_json
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.identity import parse_uuid
from penstock.schemas.text import is_storable
from penstock.workers.dead_letters.letters import Became, LetterState, plain
from penstock.workers.dead_letters.moments import parse_moment
from penstock.workers.dead_letters.payload_paths import PayloadPath, parse_payload_path, payload_condition
from penstock.workers.dead_letters.words import text_condition

#: The parameters of a query that say which page is meant, and not which letters.
PAGE_PARAMETERS = frozenset({"limit", "cursor", "order"})
#: Conditions on the payload that one filter may have.
PAYLOAD_LIMIT = 8
_TEXT_LIMIT = 500

#: Parameter, attribute and column of what is compared as it is.
_EQUAL = (
    ("kind", "kind", "kind"),
    ("code", "code", "code"),
    ("queue", "queue", "queue"),
    ("platform", "platform", "platform"),
    ("form", "form_id", "form_id"),
    ("account", "account", "account"),
    ("tenant", "tenant", "tenant"),
    ("group", "group", "fingerprint"),
)
PARAMETERS = (*(name for name, _, _ in _EQUAL), "state", "became", "since", "until", "job_id", "payload", "text")
_ANY = "any"

Given = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Dead letters that meet all of these; what is None does not matter.

    Attributes:
        state: open ones unless said otherwise; None for any.
        since, until: by the instant of death, aware: not before the one, and before the other.
        payload: pairs of a path and the JSON value that stands there. A path has members and positions parted by
            dots, and `*` for any element of a list: `form_id`, `submissions.0.id`, `submissions.*.id`. Of a large
            payload only the first rows can be found so.
        text: words in the code, message, error, kind, ids and subjects; "in quotes" as they stand, `-word` without
            it, `or` between two; the last word may be cut short.
    """

    kind: str | None = None
    code: str | None = None
    queue: str | None = None
    platform: str | None = None
    form_id: str | None = None
    account: str | None = None
    tenant: str | None = None
    group: str | None = None
    state: LetterState | None = LetterState.OPEN
    became: Became | None = None
    since: datetime | None = None
    until: datetime | None = None
    job_id: UUID | None = None
    payload: tuple[PayloadPath, ...] = ()
    text: str | None = None

    @classmethod
    def parse(cls, given: Given, *, also: Collection[str] = PAGE_PARAMETERS, now: datetime | None = None) -> Self:
        """Read the parameters of a query; an empty one is none.

        Args:
            given: `kind code queue platform form account tenant group state became since until job_id payload text`;
                `state` is open, requeued, discarded or any; `since` and `until` are RFC 3339 or such as `6h` (ago);
                `payload` is `path=value`, and may be a list of them.
            also: names that are somebody else's; any other name is refused, so that a slip selects nothing by mistake.
            now: what `6h` ago is counted from.

        Raises:
            InvalidInputError: `REQUEST_FILTER_INVALID`, naming the parameter.
        """
        unknown = sorted(set(given) - set(PARAMETERS) - set(also))
        if unknown:
            raise unknown_filter(unknown[0], PARAMETERS)
        one = {name: single(name, value) for name, value in given.items() if name in PARAMETERS and name != "payload"}
        told = {name: value for name, value in one.items() if value}
        moment = now if now is not None else datetime.now(UTC)
        return cls(
            **{attribute: told[name] for name, attribute, _ in _EQUAL if name in told},
            state=_state(told.get("state")),
            became=_member("became", told["became"], Became) if "became" in told else None,
            since=_moment("since", told, moment),
            until=_moment("until", told, moment),
            job_id=_job_id(told.get("job_id")),
            payload=_paths(given.get("payload", ())),
            text=told.get("text", "")[:_TEXT_LIMIT].strip() or None,
        )

    def as_query(self) -> list[tuple[str, str]]:
        """The parameters that `parse` makes this filter of; the default state is left out."""
        pairs = [(name, str(getattr(self, attribute))) for name, attribute, _ in _EQUAL if getattr(self, attribute)]
        if self.state is not LetterState.OPEN:
            pairs.append(("state", _ANY if self.state is None else str(self.state)))
        others = [(name, getattr(self, name)) for name in ("became", "since", "until", "job_id")]
        pairs += [(name, plain(value)) for name, value in others if value is not None]
        pairs += [("payload", f"{path}={compact_json(value).decode()}") for path, value in self.payload]
        return pairs if self.text is None else [*pairs, ("text", self.text)]

    def as_dict(self) -> dict[str, Any]:
        """The filter as a JSON object, with the parameters' names; the state always stands in it."""
        found: dict[str, Any] = {name: value for name, value in self.as_query() if name != "payload"}
        found["state"] = _ANY if self.state is None else str(self.state)
        return found | (
            {"payload": [f"{path}={compact_json(value).decode()}" for path, value in self.payload]}
            if self.payload
            else {}
        )

    @property
    def looks_inside(self) -> bool:
        """Whether it looks into payloads or texts, which no ordered index can do."""
        return bool(self.payload) or self.text is not None

    def where(self) -> tuple[str, dict[str, Any]]:
        """The condition on the columns of `penstock.dead_letters`, and its named parameters (all begin with `f_`)."""
        outside, parameters = self.where_outside()
        inside, more = self.where_inside()
        return " AND ".join(filter(None, (outside, inside))) or "true", parameters | more

    def where_outside(self) -> tuple[str, dict[str, Any]]:
        """As `where`, without what looks into payloads and texts; empty where that is all."""
        conditions: list[str] = []
        parameters: dict[str, Any] = {}
        equal = [(column, getattr(self, attribute)) for _, attribute, column in _EQUAL]
        equal += [("state", self.state), ("became", self.became), ("job_id", self.job_id)]
        for column, value in equal:
            if value is not None:
                conditions.append(f"{column} = %(f_{column})s")
                parameters[f"f_{column}"] = str(value) if isinstance(value, (LetterState, Became)) else value
        for name, comparison in (("since", ">="), ("until", "<")):
            if getattr(self, name) is not None:
                conditions.append(f"died_at {comparison} %(f_{name})s")
                parameters[f"f_{name}"] = getattr(self, name)
        return " AND ".join(conditions), parameters

    def where_inside(self) -> tuple[str, dict[str, Any]]:
        """As `where`, of what looks into payloads and texts alone; empty where nothing does."""
        conditions: list[str] = []
        parameters: dict[str, Any] = {}
        for number, (path, value) in enumerate(self.payload):
            conditions.append(payload_condition(f"f_payload{number}", path, value, parameters))
        if self.text is not None:
            conditions.append(text_condition("f_text", self.text, parameters))
        return " AND ".join(conditions), parameters


def filter_error(name: str, told: str, remedy: str | None = None) -> InvalidInputError:
    """What is wrong with the parameter `name`."""
    return InvalidInputError(Code.REQUEST_FILTER_INVALID, f"{name}: {told}", remedy=remedy, details={"parameter": name})


def unknown_filter(name: str, known: Iterable[str]) -> InvalidInputError:
    """That no filter has this name, which may be any text."""
    told = name[:80].encode(errors="replace").decode()
    return filter_error(told, "there is no such filter", f"Known are {', '.join(known)}.")


def single(name: str, value: str | Sequence[str]) -> str:
    """The one value of a parameter, without white space at its ends; empty for none.

    Raises:
        InvalidInputError: `REQUEST_FILTER_INVALID` where there are several, or it is too long or can't be stored.
    """
    values = [value] if isinstance(value, str) else [one for one in value if one]
    if len(values) > 1:
        raise filter_error(name, "it is given more than once")
    found = values[0].strip() if values else ""
    _require_storable(name, found)
    if len(found) > _TEXT_LIMIT:
        raise filter_error(name, f"it has over {_TEXT_LIMIT} characters")
    return found


def _require_storable(name: str, text: str) -> None:
    # Bytes of a command line or address that are no UTF-8 come as surrogates.
    if not is_storable(text):
        raise filter_error(name, "it is no UTF-8, or has U+0000, which PostgreSQL can't be asked for")


def _state(told: str | None) -> LetterState | None:
    if told is None:
        return LetterState.OPEN
    return None if told == _ANY else _member("state", told, LetterState, _ANY)


def _member(name: str, told: str, members: Any, *more: str) -> Any:
    if told not in set(members):
        known = ", ".join([*members, *more])
        raise filter_error(name, f"{told[:80]!r} is none", f"Use one of {known}.")
    return members(told)


def _moment(name: str, told: Mapping[str, str], now: datetime) -> datetime | None:
    if name not in told:
        return None
    found = parse_moment(told[name], now)
    if found is None:
        raise filter_error(
            name, f"{told[name][:80]!r} is no instant", "Use RFC 3339 with an offset, or 30m, 6h, 7d for so long ago."
        )
    return found


def _job_id(told: str | None) -> UUID | None:
    if told is None:
        return None
    found = parse_uuid(told)
    if found is None:
        raise filter_error("job_id", f"{told[:80]!r} is no job id", "A job id is a UUID with hyphens.")
    return found


def _paths(given: str | Sequence[str]) -> tuple[PayloadPath, ...]:
    written = [given] if isinstance(given, str) else list(given)
    found = []
    for text in written:
        if not text.strip():
            continue
        _require_storable("payload", text)
        path = parse_payload_path(text)
        if path is None:
            raise filter_error(
                "payload", f"{text[:80]!r} is no path=value", 'Write form_id=poll, or submissions.0.id="x".'
            )
        found.append(path)
    if len(found) > PAYLOAD_LIMIT:
        raise filter_error("payload", f"there are {len(found)} conditions; the limit is {PAYLOAD_LIMIT}")
    return tuple(found)
