"""Who a row is and when it was sent: its 16 bytes, its instant, and what its producer calls it."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from penstock.schemas.errors import Code
from penstock.schemas.faults import Fault
from penstock.schemas.identity import SubmissionIds, parse_uuid, uuid7_unix_ms
from penstock.schemas.text import is_storable
from penstock.workers.submissions.instants import parse_instant, within_bounds

_ID_CHARACTERS = 200
#: Positions are `integer` in the table of rejections.
_POSITIONS = 2**31

_ID_INVALID = Fault(None, Code.SUBMISSION_ID_INVALID, "id must be a UUID or a text of 1 to 200 characters")
_TIME_REQUIRED = Fault(
    None, Code.SUBMISSION_TIME_REQUIRED, "a row with an id needs submitted_at, or a UUIDv7 as its id"
)
_TIME_INVALID = Fault(None, Code.SUBMISSION_TIME_INVALID, "submitted_at must be RFC 3339, as 2026-11-21T08:00:00Z")
_POSITION_MISPLACED = Fault(None, Code.SUBMISSION_INVALID, "a row has a position in a replay, and only there")
_POSITION_INVALID = Fault(None, Code.SUBMISSION_INVALID, "position must be a whole number from 0")


class WireRow(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A row as nearly all of them are: the answers stay the bytes that they are."""

    answers: msgspec.Raw
    id: str | None = None
    submitted_at: str | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """What the rows of one batch have in common when their ids and instants are settled."""

    base_batch_id: str
    first_position: int
    #: When the batch was enqueued: the instant of rows that bring none. Microseconds since 1970.
    received_us: int
    #: A replay's rows say which rejected row each corrects, and keep that row's identity.
    is_replay: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """A row's identity. `submitted_us` counts microseconds since 1970."""

    submission_id: bytes
    submitted_us: int
    external_id: str | None


class Identities:
    """Settles the identities of one batch's rows."""

    def __init__(self, ids: SubmissionIds, identity: Identity) -> None:
        self._ids = ids
        self._identity = identity
        #: Gives the id of the row at a position of the whole file.
        self.id_at = ids.of_positions(identity.base_batch_id)

    def all_derived(self, count: int) -> list[bytes]:
        """The ids of the batch's first `count` rows where none of them brings one."""
        return self._ids.in_a_row(self._identity.base_batch_id, self._identity.first_position, count)

    def settle(self, index: int, row: WireRow) -> Settled | tuple[Fault, ...]:
        """Settle one row's identity, or say all that is wrong with it."""
        faults = [*self._position_faults(row)]
        instant = self._instant(row)
        if isinstance(instant, Fault):
            faults.append(instant)
        if row.id is not None and not _is_usable(row.id):
            faults.append(_ID_INVALID)
        if faults or isinstance(instant, Fault):
            return tuple(faults)
        if row.id is None:
            return Settled(self._derived_id(index, row), instant, None)
        value = parse_uuid(row.id)
        if value is None:
            return Settled(self._ids.of_external(row.id), instant, row.id)
        return Settled(value.bytes, instant, None)

    def _instant(self, row: WireRow) -> int | Fault:
        """The instant that the row says, else that of its id, else the batch's; microseconds since 1970."""
        if row.submitted_at is not None:
            instant, otherwise = parse_instant(row.submitted_at), _TIME_INVALID
        elif row.id is not None and _is_usable(row.id):
            instant, otherwise = _instant_of_id(row.id), _TIME_REQUIRED
        else:
            return self._identity.received_us
        if instant is None:
            return otherwise
        return within_bounds(instant, self._identity.received_us) or instant

    def _position_faults(self, row: WireRow) -> Iterator[Fault]:
        if self._identity.is_replay != (row.position is not None):
            yield _POSITION_MISPLACED
        if row.position is not None and not 0 <= row.position < _POSITIONS:
            yield _POSITION_INVALID

    def _derived_id(self, index: int, row: WireRow) -> bytes:
        offset = index if row.position is None else row.position
        return self.id_at(self._identity.first_position + offset)


def _instant_of_id(row_id: str) -> int | None:
    value = parse_uuid(row_id)
    unix_ms = None if value is None else uuid7_unix_ms(value)
    return None if unix_ms is None else unix_ms * 1000


def _is_usable(row_id: str) -> bool:
    return 1 <= len(row_id) <= _ID_CHARACTERS and is_storable(row_id)


def as_column(text: str | None) -> str | None:
    """What a text column can hold of what should have been an id or an instant; the row's content has it whole."""
    return text[:_ID_CHARACTERS] if text is not None and is_storable(text) else None
