"""The pages of posts and accounts with made-up answers: what can be decided, and what is asked before."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from penstock.schemas.errors import InvalidInputError
from penstock.schemas.scheduled_post import PostState
from penstock.workers.accounts.account import AccountState
from penstock.workers.posts.calendar import Planned
from penstock.workers.posts.choices import Choice
from penstock.workers.sidecar.access.operator import Role
from penstock.workers.sidecar.pages.post_plan import agenda_of, today_of
from penstock.workers.sidecar.pages.post_questions import instant_of
from penstock.workers.sidecar.pages.post_words import post_badge, post_sentence
from penstock.workers.sidecar.pages.words import badge_of
from tests.workers.sidecar.pages.made_up import MadeUpDesk, PageClient
from tests.workers.sidecar.pages.made_up_posts import POST, account, ago, attempt, listed_post, stored_post
from tests.workers.sidecar.pages.test_rendering import HOSTILE, outline

NOW = datetime(2026, 11, 21, 3, 12, 7, tzinfo=UTC)
PATH = f"/posts/{POST}"
OFFERED = {
    "scheduled": {"reschedule", "cancel"},
    "held": {"approve", "reschedule", "cancel"},
    "claimed": {"reschedule", "cancel"},
    "publishing": set(),
    "published": set(),
    "dead": {"reschedule"},
    "cancelled": set(),
    "unknown_outcome": {"settle", "publish-again"},
    "expired": {"reschedule"},
}


def desk_with(**members: Any) -> MadeUpDesk:
    desk = MadeUpDesk()
    for name, value in members.items():
        setattr(desk, name, value)
    return desk


def offered(text: str) -> set[str]:
    found = re.findall(rf'<form[^>]*method="post"[^>]*action="{PATH}/([^"]*)"', text)
    return set(found) - {"reveal"}


@pytest.mark.parametrize("state", OFFERED)
def test_a_post_offers_what_its_state_allows_to_whoever_may(state: str) -> None:
    post = stored_post(state, published_at=ago(minutes=1))
    assert offered(PageClient(desk_with(post_shown=post), Role.OPERATOR).get(PATH).text) == OFFERED[state]
    seen = PageClient(desk_with(post_shown=post), Role.VIEWER).get(PATH).text
    assert offered(seen) == set()
    assert ("needs the role operator" in seen) == bool(OFFERED[state])
    assert outline(seen).faults == []


@pytest.mark.parametrize("state", PostState)
def test_each_state_has_words_and_a_badge(state: PostState) -> None:
    post = listed_post(state=state)
    assert not post_sentence(post).startswith("It is " + state)
    assert badge_of(post_badge(post), "post")[1] == state.replace("_", " ")
    parked = listed_post(parked_at=ago(hours=1))
    assert (post_badge(parked), "authorised anew" in post_sentence(parked)) == ("parked", True)


@pytest.mark.parametrize("state", AccountState)
def test_each_state_of_an_account_has_a_badge(state: AccountState) -> None:
    assert badge_of(state, "account")[1] != f"account:{state}"


@pytest.mark.parametrize(
    ("verb", "fields", "told"),
    [
        ("reschedule", {"when": "2h", "version": "3"}, "in 2 h"),
        ("reschedule", {"when": "2031-01-02 03:04"}, "2031-01-02 03:04:00 UTC"),
        ("cancel", {"version": "3"}, "taken up again"),
        ("approve", {}, "at once"),
        ("approve", {"when": "2031-01-02T03:04:00+01:00"}, "2031-01-02 02:04:00 UTC"),
        ("settle", {"external_id": "17895", "url": "https://example.org/p/1"}, "under the id 17895"),
        ("publish-again", {}, "twice"),
    ],
)
def test_nothing_is_decided_before_it_is_confirmed_with_a_reason(verb: str, fields: dict[str, str], told: str) -> None:
    desk = MadeUpDesk()
    asked = PageClient(desk).post(f"{PATH}/{verb}", data=fields)
    assert (asked.status_code, told in asked.text) == (200, True)
    without = PageClient(desk).post(f"{PATH}/{verb}", data=fields | {"confirmed": "yes", "reason": " "})
    assert (without.status_code, desk.acts) == (422, [])
    done = PageClient(desk).post(f"{PATH}/{verb}", data=fields | {"confirmed": "yes", "reason": "because"})
    assert (done.status_code, done.headers["location"]) == (303, f"{PATH}?done=post-{verb}")
    ((act, identity, decision, by, reason),) = desk.acts
    assert (act, identity, by, reason) == (verb, POST, "mara", "because")
    assert decision.expected == (3 if "version" in fields else None)
    assert PageClient(desk, Role.VIEWER).post(f"{PATH}/{verb}", data=fields).status_code == 403
    assert len(desk.acts) == 1
    assert "Nothing was changed" not in PageClient(desk).get(done.headers["location"]).text


def test_what_is_confirmed_is_the_instant_that_was_told() -> None:
    asked = PageClient(MadeUpDesk()).post(f"{PATH}/reschedule", data={"when": "+90m"})
    sent = re.findall(r'name="when" value="([^"]*)"', asked.text)
    assert len(sent) == 1
    assert timedelta(minutes=89) < datetime.fromisoformat(sent[0]) - datetime.now(UTC) <= timedelta(minutes=90)


@pytest.mark.parametrize(
    ("verb", "fields"),
    [
        ("reschedule", {}),
        ("reschedule", {"when": "soon"}),
        ("reschedule", {"when": "9999-01-01"}),
        ("reschedule", {"when": "2h", "version": "x"}),
        ("approve", {"when": "2026-13-01"}),
        ("settle", {"external_id": "  "}),
        ("burn", {}),
    ],
)
def test_what_can_not_be_read_is_refused(verb: str, fields: dict[str, str]) -> None:
    desk = MadeUpDesk()
    answer = PageClient(desk).post(f"{PATH}/{verb}", data=fields | {"confirmed": "yes", "reason": "r"})
    assert (answer.status_code in {404, 422}, desk.acts) == (True, [])
    assert '<main id="main"' in answer.text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", None),
        ("2h", NOW + timedelta(hours=2)),
        ("+30m", NOW + timedelta(minutes=30)),
        ("2026-11-22 14:30", datetime(2026, 11, 22, 14, 30, tzinfo=UTC)),
        ("2026-11-22 14:30 UTC", datetime(2026, 11, 22, 14, 30, tzinfo=UTC)),
        ("2026-11-22T14:30:00+02:00", datetime(2026, 11, 22, 12, 30, tzinfo=UTC)),
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=UTC)),
    ],
)
def test_instants_are_read_as_people_type_them(text: str, told: datetime | None) -> None:
    assert instant_of(text, NOW) == told


@pytest.mark.parametrize("text", ["tomorrow", "-2h", "1e9d", "999999999d", "0001-01-01T00:00+14:00", "2026-02-30"])
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        instant_of(text, NOW)


def test_revealing_needs_a_reason_and_the_role() -> None:
    desk = MadeUpDesk()
    seen = PageClient(desk).get(PATH)
    assert "214 characters" in seen.text
    assert "Herons" not in seen.text
    assert PageClient(desk).post(f"{PATH}/reveal", data={}).status_code == 200
    assert PageClient(desk, Role.OPERATOR).post(f"{PATH}/reveal", data={"reason": "r"}).status_code == 403
    assert desk.acts == []
    shown = PageClient(desk).post(f"{PATH}/reveal", data={"reason": "a call"})
    assert "Herons at dusk." in shown.text
    assert "Revealed, and recorded" in shown.text
    assert [act[0] for act in desk.acts] == ["reveal"]


@pytest.mark.parametrize("path", ["/posts", "/posts/list", PATH, "/accounts"])
def test_hostile_texts_of_posts_and_accounts_stay_texts(path: str) -> None:
    desk = desk_with(
        post_shown=stored_post(
            owner=HOSTILE,
            platform=HOSTILE,
            external_id=HOSTILE,
            url="javascript:alert(1)",
            last_code=HOSTILE,
            idempotency_key=HOSTILE,
            content={"text": HOSTILE + "x" * 100_000, HOSTILE: 1},
        ),
        listed_shown=listed_post(
            owner=HOSTILE, tenant=HOSTILE, platform=HOSTILE, account_name=HOSTILE, last_code=HOSTILE, url=HOSTILE
        ),
        account_shown=account(name=HOSTILE, owner=HOSTILE, state_code=HOSTILE, refresh_code=HOSTILE, tenant=HOSTILE),
        attempts_shown=[
            attempt(HOSTILE, HOSTILE, trace_id=HOSTILE, platform_code=HOSTILE, detail=HOSTILE, worker=HOSTILE)
        ],
    )
    answer = PageClient(desk).get(path)
    assert answer.status_code == 200
    assert outline(answer.text).faults == []
    assert "<script>alert" not in answer.text
    assert 'href="javascript:' not in answer.text
    # What a button copies is the text as it is; nobody sees it.
    seen = re.sub(r' data-copy="[^"]*"', "", answer.text)
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2028]", seen)
    assert len(answer.content) < 300_000


def test_the_attempts_are_a_timeline_with_classes_codes_and_trace_ids() -> None:
    text = re.sub(r"<[^>]*>", "", PageClient(MadeUpDesk()).get(PATH).text)
    first, last = text.index("Prepare: answered well"), text.index("Publish: nobody can tell what came of it")
    assert first < last
    assert "AbC1dEf2gHi" in text
    assert "PLATFORM_API_TIMEOUT" in text
    assert "visible step 1" in text


def test_a_parked_post_names_the_command_that_lets_it_go() -> None:
    post = stored_post("scheduled", parked_at=ago(hours=1))
    text = PageClient(desk_with(post_shown=post)).get(PATH).text
    assert f"penstock accounts reauthorize {post.account_id}" in text


def test_the_agenda_counts_what_became_of_the_posts_of_each_hour_and_day() -> None:
    start = today_of(NOW)
    planned = [
        Planned(start + timedelta(hours=9), "scheduled", "instagram", 4),
        Planned(start + timedelta(hours=9), "published", "instagram", 2),
        Planned(start + timedelta(hours=9), "cancelled", "facebook", 9),
        Planned(start + timedelta(hours=10), "unknown_outcome", "facebook", 1),
        Planned(start + timedelta(days=6, hours=23), "claimed", "youtube", 5),
        Planned(start + timedelta(days=7), "scheduled", "youtube", 7),
    ]
    agenda = agenda_of(planned, NOW)
    nine, ten = agenda.hours
    assert (nine.total, nine.out, nine.ahead, nine.wanting, nine.cancelled, nine.told) == (6, 2, 4, 0, 9, "6 instagram")
    assert (ten.total, ten.wanting) == (1, 1)
    assert nine.query == [("due_after", "2026-11-21T09:00:00Z"), ("due_before", "2026-11-21T10:00:00Z")]
    assert ([day.total for day in agenda.days], agenda.today.hours[9]) == ([7, 0, 0, 0, 0, 0, 5], 6)


def test_lists_of_work_lead_to_their_posts() -> None:
    busy = PageClient(MadeUpDesk()).get("/posts").text
    for address in ("late", "unknown_outcome", "held", "parked", "dead&amp;due_after=2026-11-14"):
        assert f'href="/posts/list?state={address}"' in busy
    calm = PageClient(MadeUpDesk(calm=True)).get("/posts").text
    assert "Posts that are late, held, parked or of unknown outcome would be listed here" in calm


def test_the_overview_tells_of_posts() -> None:
    text = PageClient(MadeUpDesk()).get("/").text
    for path in ("/posts/list?state=late", "/posts/list?state=unknown_outcome", "/accounts?state=reauthorize"):
        assert f'href="{path}"' in text
    assert set(Choice) == {"reschedule", "cancel", "approve", "settle", "publish-again"}
