"""The 25 scenarios through the whole system at once: each ends as the reference says, and what is out is out once."""

import time
from datetime import timedelta
from uuid import UUID

from penstock.producers.queue.job_view import JobView
from penstock.workers.stand_in.scenarios import SCENARIOS
from tests.recovery.posts_record import ENDED, PostEnd
from tests.recovery.posts_scenarios import CASES, LAST_CASES, PARKED, REFUSED, WAITS, Case, named
from tests.recovery.posts_trial import PostsTrial, TrialAccount, soon, text_post
from tests.system import wait_for

PATIENCE_SECONDS = 150
#: What is prepared is prepared before the post's instant, so a refusal of that counts from a little earlier.
AHEAD = timedelta(seconds=5)
#: A second post of the same text, which the platform refuses.
SECOND = "duplicate-"
_REFUSALS = "SELECT code FROM penstock.dead_letters WHERE job_id = %s"
#: Not a scenario of a post: the stand-in's clock moves for all accounts. `tests/workers/platforms` has it.
APART = {"an-hour-passes"}


class Played:
    """A case whose post is on its way."""

    def __init__(self, posts: PostsTrial, name: str, case: Case) -> None:
        self.case, self.text = case, f"Scenario {name}"
        self.posts = posts
        self.account: TrialAccount = posts.add_account(case.platform, name)
        stand_in = posts.stand_in
        stand_in.play(case.scenario, self.account.name)
        for operation, fault in case.faults:
            stand_in.fail(operation, fault, account=self.account.name)
        wrong = {f"{self.account.name}{ending}": what for ending, what in case.tokens.items()}
        stand_in.turn(self.account.name, **case.knobs, tokens=wrong)
        (self.post_id,) = posts.schedule([(self.account, case.make(stand_in, self.text), soon())])

    def has_ended(self, ends: dict[UUID, PostEnd]) -> bool:
        """Whether the post is where it will stay."""
        if self.case.end == REFUSED:
            return self.refusal() is not None
        end = ends.get(self.post_id)
        if end is None:
            return False
        return self.waits() if self.case.end == WAITS else end.parked or end.state in ENDED

    def refusal(self) -> str | None:
        """The code with which it was refused when it was to be scheduled."""
        found = self.posts.database.query(_REFUSALS, self.post_id)
        return str(found[0][0]) if found else None

    def waits(self) -> bool:
        """Whether its job waits until a time that the platform named."""
        job = self.posts.find_job(self.post_id)
        return job is not None and job.state == "scheduled" and str(job.blocked_by).startswith("blocked:")

    def judge(self, ends: dict[UUID, PostEnd]) -> str | None:
        """What is wrong with how it ended; None where nothing is."""
        published = len(self.posts.stand_in.publications(self.account.name))
        wanted = 1 if self.case.end == "published" else 0
        found = self._found(ends)
        if found != (self.case.end, self.case.code) or published != wanted:
            return f"{found}, {published} times published; wanted {(self.case.end, self.case.code)}"
        return None

    def _found(self, ends: dict[UUID, PostEnd]) -> tuple[str, str]:
        if self.case.end == REFUSED:
            return REFUSED, self.refusal() or ""
        end = ends[self.post_id]
        if end.parked:
            return PARKED, end.account_code or ""
        if end.state == "claimed":
            return self._waiting(self.posts.job_of(self.post_id), end), ""
        return end.state, (end.last_code or "") if end.state != "published" else ""

    def _waiting(self, job: JobView, end: PostEnd) -> str:
        """`WAITS` where it comes back when the platform said, and no attempt was spent."""
        wait = (job.eligible_at or end.due_at) - end.due_at
        as_told = wait >= self.case.wait - AHEAD and job.attempts == 0
        return WAITS if as_told else f"waits {wait}, {job.attempts} attempts spent"


def play(posts: PostsTrial, cases: tuple[Case, ...]) -> list[Played]:
    """Play the cases at once, and wait until each is where it will stay."""
    played = [Played(posts, name, case) for name, case in named(cases)]

    def ended() -> bool:
        # Each look asks for all of them.
        time.sleep(0.3)
        ends = posts.ends()
        on_their_way[:] = [one for one in played if not one.has_ended(ends)]
        return not on_their_way

    on_their_way: list[Played] = []
    try:
        wait_for(ended, "all scenarios to end", PATIENCE_SECONDS)
    except AssertionError:
        told = {one.account.name: posts.ends().get(one.post_id) for one in on_their_way}
        raise AssertionError(f"still on their way: {told}") from None
    return played


def test_every_scenario_is_played() -> None:
    assert {case.scenario for case in CASES + LAST_CASES} | APART == set(SCENARIOS)
    numbers = {SCENARIOS[case.scenario].number for case in CASES + LAST_CASES}
    assert numbers == set(range(1, 26))


def test_each_ends_as_it_should_and_what_is_out_is_out_once(posts: PostsTrial) -> None:
    posts.start_workers(2, PENSTOCK_WORKER_THREADS=8)
    posts.start_schedulers(1)
    played = play(posts, CASES)
    refused_twice = [refuse_second(posts, one) for one in played if one.case.scenario.startswith(SECOND)]
    played += play(posts, LAST_CASES)

    posts.wait_until_lettered()
    ends = posts.ends()
    wrong = {one.account.name: fault for one in played if (fault := one.judge(ends)) is not None}
    assert wrong == {}
    assert posts.stand_in.doubles() == []
    assert refused_twice == [("dead", "POST_DUPLICATE", 0)] * 2
    lettered = [end for end in ends.values() if end.state == "dead"]
    assert all(end.lettered for end in lettered)
    posts.assert_reconciled()


def refuse_second(posts: PostsTrial, first: Played) -> tuple[str, str | None, int]:
    """Send the text of a published post once more: how that ends."""
    (again,) = posts.schedule([(first.account, text_post(first.text), soon(0.5))])
    wait_for(lambda: again in posts.ends() and posts.ends()[again].state == "dead", "the second post", 60)
    end = posts.ends()[again]
    return end.state, end.last_code, len(posts.stand_in.publications(first.account.name)) - 1
