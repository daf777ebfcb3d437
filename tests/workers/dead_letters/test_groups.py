"""Groups: their counts equal a recount after anything, and what they tell of who is affected."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.schemas.errors import Code, InvalidInputError, NotFoundError
from penstock.workers.dead_letters.decisions import LetterDecisions
from penstock.workers.dead_letters.group_filters import GroupFilter, GroupState
from penstock.workers.dead_letters.groups import Group, GroupOrder, GroupStore
from penstock.workers.dead_letters.record import LetterRecord
from tests.system import Database
from tests.workers.dead_letters.conftest import Insert
from tests.workers.dead_letters.letter_kit import BEGINNING, again, death

GROUPS = """
SELECT fingerprint, kind, code, error, total, open, requeued, healed, discarded, first_seen, last_seen
  FROM penstock.dead_letter_groups ORDER BY 1
"""
RECOUNTED = """
SELECT fingerprint, min(kind), min(code), min(error), count(*), count(*) FILTER (WHERE state = 'open'),
       count(*) FILTER (WHERE state = 'requeued'), count(*) FILTER (WHERE became = 'done'),
       count(*) FILTER (WHERE state = 'discarded'), min(died_at), max(died_at)
  FROM penstock.dead_letters GROUP BY 1 ORDER BY 1
"""
SUBJECTS = "SELECT fingerprint, subject, value, total, open FROM penstock.dead_letter_group_subjects ORDER BY 1, 2, 3"
SUBJECTS_RECOUNTED = """
SELECT fingerprint, subject, value, count(*), count(*) FILTER (WHERE state = 'open')
  FROM penstock.dead_letters,
       LATERAL (VALUES ('form', form_id), ('account', account), ('platform', platform), ('tenant', tenant),
                       ('release', nullif(release, ''))) AS about (subject, value)
 WHERE value IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
HOURS = "SELECT fingerprint, hour, died FROM penstock.dead_letter_group_hours ORDER BY 1, 2"
HOURS_RECOUNTED = """
SELECT fingerprint, date_trunc('hour', died_at, 'UTC'), count(*) FROM penstock.dead_letters GROUP BY 1, 2 ORDER BY 1, 2
"""

SHAPES = st.tuples(
    st.sampled_from(["A_CODE", "B_CODE", "C_CODE"]),
    st.sampled_from([None, "f1", "f2"]),
    st.sampled_from([None, "a1"]),
    st.sampled_from(["t1", "t2"]),
    st.sampled_from(["", "1.0", "1.1"]),
    st.integers(0, 5),
)
NUMBERS = st.lists(st.integers(0, 30), max_size=6)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("die"), st.lists(SHAPES, min_size=1, max_size=8)),
        st.tuples(st.sampled_from(["again", "requeue", "discard", "done", "delete"]), NUMBERS),
    ),
    max_size=12,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=STEPS)
def test_the_counts_equal_a_recount(
    database: Database, insert: Insert, decisions: LetterDecisions, steps: list[tuple[str, list]]
) -> None:
    # Each example in tenants of its own, on top of the examples before it.
    letters: list[LetterRecord] = []
    for step, what in steps:
        if step == "die":
            died = [_death(*shape) for shape in what]
            insert(*died)
            letters += died
            continue
        chosen = [letters[number % len(letters)] for number in dict.fromkeys(what)] if letters else []
        ids = list(dict.fromkeys(letter.dead_id for letter in chosen))
        if step == "again":
            died = [again(letter, timedelta(hours=1 + len(letters) + n)) for n, letter in enumerate(chosen)]
            insert(*died)
            letters += died
        elif step == "requeue":
            decisions.requeue(ids, "ada", "again")
        elif step == "discard":
            decisions.discard(ids, "ada", "no")
        elif step == "done":
            database.query(
                "UPDATE penstock.dead_letters SET became = 'done' WHERE dead_id = ANY(%s) AND became = 'waiting'", ids
            )
        else:
            database.query(
                "DELETE FROM penstock.dead_letters WHERE dead_id = ANY(%s) AND state <> 'open'"
                " AND became IS DISTINCT FROM 'waiting'",
                ids,
            )
    counted, recounted = database.query(GROUPS), database.query(RECOUNTED)
    # What is deleted leaves the first and last instants of its group as they were.
    if any(step == "delete" for step, _ in steps):
        counted, recounted = ([row[:9] for row in rows] for rows in (counted, recounted))
        assert counted == recounted
        database.query("DELETE FROM penstock.dead_letters WHERE state <> 'open' AND became IS DISTINCT FROM 'waiting'")
        _start_anew(database)
    else:
        assert counted == recounted
    assert database.query(SUBJECTS) == database.query(SUBJECTS_RECOUNTED)
    assert database.query(HOURS) == database.query(HOURS_RECOUNTED)


def _start_anew(database: Database) -> None:
    """Resolve and delete everything: no count may be left behind."""
    database.query(
        "UPDATE penstock.dead_letters SET state = 'discarded', resolved_at = now(), resolved_by = 'x',"
        " resolution_reason = 'x' WHERE state = 'open'"
    )
    database.query("UPDATE penstock.dead_letters SET became = 'done' WHERE became = 'waiting'")
    database.query("DELETE FROM penstock.dead_letters")
    assert database.query(GROUPS) == database.query(SUBJECTS) == database.query(HOURS) == []


def _death(code: str, form: str | None, account: str | None, tenant: str, release: str, hours: int) -> LetterRecord:
    about = {} if form is None else {"form": form}
    return death(
        {"order": "x", "about": about, "account": account},
        code=code,
        tenant=tenant,
        release=release,
        died_at=BEGINNING + timedelta(hours=hours),
    )


def test_failures_of_one_cause_are_one_group(empty: None, insert: Insert, groups: GroupStore) -> None:
    frames = [
        "/usr/lib/python3.11/threading.py:1 in run",
        "/srv/app/jobs/pay.py:17 in pay",
        "/x/site-packages/a.py:9 in b",
    ]
    other_line = [frames[0], "/opt/other/app/jobs/pay.py:99 in pay", "/y/site-packages/c.py:1 in d"]
    elsewhere = [frames[0], "/srv/app/jobs/pay.py:17 in refund"]
    first = death(
        message=f"row 17 of {uuid.uuid4()} at 2026-11-01T00:00:00Z: 'abc' is 3.5 too long",
        error="app.Refused",
        history=[{"traceback": frames}],
        release="1.0",
    )
    alike = death(
        message=f'row 4 of {uuid.uuid4()} at 2027-01-02T03:04:05+01:00: "x y" is 12 too long',
        error="app.Refused",
        history=[{"traceback": ["/a.py:1 in a"]}, {"traceback": other_line}, {"outcome": "dead"}],
        release="1.1",
    )
    marked = death(
        message=first.message, error="app.Refused", history=[{"traceback": [*frames, "/q.py:1 in q"], "own": [1]}]
    )
    others = [
        death(message=first.message, error="app.Other", history=[{"traceback": frames}]),
        death(message=first.message, error="app.Refused", history=[{"traceback": elsewhere}]),
        death(message=first.message, error="app.Refused", history=[{"traceback": frames}], code="OTHER"),
        death(message=first.message, error="app.Refused", history=[{"traceback": frames}], kind="letters.other"),
        death(message="row is too short", error="app.Refused", history=[{"traceback": frames}]),
    ]
    insert(first, alike, marked, *others)
    found = groups.list(GroupFilter()).items
    assert sorted(group.total for group in found) == [1, 1, 1, 1, 1, 3]
    group = found[0]
    assert (group.total, group.open, group.site) == (3, 3, "app/jobs/pay.py in pay")
    assert (group.first_seen, group.last_seen) == (first.died_at, marked.died_at)
    assert (group.first_release, group.last_release) == ("1.0", "1.0")
    assert group.sample_message == marked.message


def test_a_group_tells_who_is_affected(
    empty: None, insert: Insert, groups: GroupStore, decisions: LetterDecisions
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    letters = [
        death(
            {"order": "x", "about": {"form": f"form-{n % 30}"}, "platform": "instagram"},
            died_at=now - timedelta(hours=n % 3, seconds=n // 3),
            release="2.0" if n else "1.9",
            sentry="e" * 32 if n == 59 else None,
        )
        for n in range(60)
    ]
    insert(*letters)
    decisions.discard([letters[0].dead_id, letters[30].dead_id], "ada", "form-0 is gone")
    (group,) = groups.list(GroupFilter(form_id="form-3")).items
    detail = groups.show(group.fingerprint)
    forms = detail.subjects["form"]
    assert len(forms) == 20
    assert all((form.total, form.open) == (2, 2) for form in forms)
    assert [(one.value, one.total, one.open) for one in detail.subjects["platform"]] == [("instagram", 60, 58)]
    assert [one.value for one in detail.subjects["tenant"]] == ["default"]
    assert [(one.value, one.total) for one in detail.releases] == [("2.0", 59), ("1.9", 1)]
    assert len(detail.hours) == 48
    assert sum(died for _, died in detail.hours) == 60
    assert detail.hours == sorted(detail.hours)
    assert (group.sentry_id, group.remedy is not None) == ("e" * 32, True)
    told = detail.as_dict()
    assert told["group"] == group.fingerprint
    assert told["open"] == 58
    # Nothing of form-0 is open any more.
    assert not groups.list(GroupFilter(form_id="form-0")).items
    assert groups.list(GroupFilter(form_id="form-0", state=GroupState.ANY)).items == [group]


@pytest.mark.parametrize("order", GroupOrder)
def test_groups_are_listed_in_their_order(empty: None, insert: Insert, groups: GroupStore, order: GroupOrder) -> None:
    for n in range(7):
        insert(*(death(code=f"CODE_{n}") for _ in range(1 + n % 3)))
    seen: list[Group] = []
    cursor = None
    while True:
        page = groups.list(GroupFilter(), limit=2, cursor=cursor, order=order)
        seen += page.items
        cursor = page.next
        if cursor is None:
            break
    key = (lambda group: group.open) if order is GroupOrder.OPEN else (lambda group: group.last_seen)
    assert [key(group) for group in seen] == sorted((key(group) for group in seen), reverse=True)
    assert len({group.fingerprint for group in seen}) == 7


GROUP_FILTERS = {
    "kind": ({"kind": "letters.other"}, {"OTHER_KIND"}),
    "code": ({"code": "PLAIN"}, {"PLAIN"}),
    "tenant": ({"tenant": "acme"}, {"TENANT"}),
    "account": ({"account": "a1"}, {"SUBJECT"}),
    "platform": ({"platform": "youtube"}, {"SUBJECT"}),
    "form": ({"form": "f1"}, {"SUBJECT"}),
    "text": ({"text": "STRANGE"}, {"TEXT"}),
    "any": ({"state": "any", "code": "GONE"}, {"GONE"}),
    "open": ({"code": "GONE"}, set()),
    "snoozed": ({"snoozed": "yes"}, {"SNOOZED"}),
    "not snoozed": ({"snoozed": "no", "text": "SNOOZED"}, set()),
}


@pytest.mark.parametrize(("given", "expected"), GROUP_FILTERS.values(), ids=GROUP_FILTERS.keys())
def test_a_filter_finds_groups(
    empty: None,
    insert: Insert,
    groups: GroupStore,
    decisions: LetterDecisions,
    given: dict[str, str],
    expected: set[str],
) -> None:
    gone, snoozed = death(code="GONE"), death(code="SNOOZED")
    insert(
        death(code="PLAIN"),
        death(code="OTHER_KIND", kind="letters.other"),
        death(code="TENANT", tenant="acme"),
        death({"order": "x", "account": "a1", "platform": "youtube", "about": {"form": "f1"}}, code="SUBJECT"),
        death(code="TEXT", message="something Strange happened"),
        gone,
        snoozed,
    )
    decisions.discard([gone.dead_id], "ada", "gone")
    (group,) = groups.list(GroupFilter(code="SNOOZED")).items
    groups.annotate(group.fingerprint, "ada", "later", snoozed_until=datetime.now(UTC) + timedelta(hours=1))
    group_filter = GroupFilter.parse(given)
    assert {found.code for found in groups.list(group_filter).items} == expected
    assert GroupFilter.parse(dict(group_filter.as_query())) == group_filter


def test_a_note_is_kept_and_audited(
    empty: None, database: Database, insert: Insert, groups: GroupStore, decisions: LetterDecisions
) -> None:
    letter = death()
    insert(letter)
    fingerprint = groups.list(GroupFilter()).items[0].fingerprint
    assert groups.annotate(fingerprint, "ada", "seen", note=" ask the bank ").note == "ask the bank"
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    noted = groups.annotate(fingerprint, "ada", "later", snoozed_until=until)
    assert (noted.note, noted.snoozed_until) == ("ask the bank", until)
    targets = database.query(
        "SELECT target, reason FROM penstock.operator_actions WHERE action = 'dead_letter_group.annotate' ORDER BY at"
    )
    assert targets[-2:] == [(fingerprint, "seen"), (fingerprint, "later")]
    # The note outlives the letters.
    decisions.discard([letter.dead_id], "ada", "done")
    database.query("DELETE FROM penstock.dead_letters")
    assert groups.show(fingerprint).group.total == 0
    assert not groups.list(GroupFilter(state=GroupState.ANY)).items
    assert groups.annotate(fingerprint, "ada", "old", note=None).note is None


def test_a_snoozed_group_is_awake_once_twice_as_many_are_open(
    empty: None, insert: Insert, groups: GroupStore, decisions: LetterDecisions
) -> None:
    letters = [death() for _ in range(3)]
    insert(*letters[:2])
    fingerprint = groups.list(GroupFilter()).items[0].fingerprint
    now = datetime.now(UTC)
    snoozed = groups.annotate(fingerprint, "ada", "later", snoozed_until=now + timedelta(days=1))
    assert (snoozed.snoozed_open, snoozed.is_snoozed(now)) == (2, True)
    assert not snoozed.is_snoozed(now + timedelta(days=2))

    def awake() -> list[bool]:
        """As the filter has it, and as the group itself has it."""
        shown = groups.show(fingerprint).group
        return [bool(groups.list(GroupFilter(snoozed=False)).items), not shown.is_snoozed(now)]

    insert(letters[2])
    assert awake() == [False, False]
    insert(death())
    assert awake() == [True, True]
    decisions.discard([letters[0].dead_id], "ada", "no")
    assert awake() == [False, False]
    groups.annotate(fingerprint, "ada", "now", snoozed_until=None)
    assert awake() == [True, True]


def test_what_is_no_group_is_not_found(groups: GroupStore) -> None:
    for call in (groups.show, lambda fingerprint: groups.annotate(fingerprint, "ada", "why", note="x")):
        with pytest.raises(NotFoundError) as raised:
            call("0" * 16)
        assert raised.value.code is Code.JOB_DEAD_LETTER_GROUP_NOT_FOUND
    with pytest.raises(InvalidInputError, match="nothing is said"):
        groups.annotate("0" * 16, "ada", "why")


@pytest.mark.parametrize("given", [{"state": "closed"}, {"snoozed": "maybe"}, {"queue": "x"}, {"code": "x" * 501}])
def test_what_is_no_filter_of_groups_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError) as raised:
        GroupFilter.parse(given)
    assert raised.value.details["parameter"] in given
