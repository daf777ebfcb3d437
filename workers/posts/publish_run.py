"""One run of a job that publishes a post: from where the post stands, as far as it comes now."""

import logging
import time
from dataclasses import replace
from datetime import datetime, timedelta

from penstock.schemas.errors import Code
from penstock.schemas.scheduled_post import PostState
from penstock.workers.accounts.account import Authorisation
from penstock.workers.job import Dead, Done, Job, Outcome, Postpone, Retry
from penstock.workers.platforms.answers import Answer, AnswerClass, Phase, PlatformFault
from penstock.workers.platforms.platform import Found, NotFound, Platform, Secret, Unknown
from penstock.workers.posts.authorising import Wait
from penstock.workers.posts.conversation import Conversation
from penstock.workers.posts.means import Means
from penstock.workers.posts.notes import Notes
from penstock.workers.posts.position import Position
from penstock.workers.posts.publishing import Began, Marked, PostToPublish
from penstock.workers.telemetry.metrics import POST_LATENESS, POSTS_PUBLISHED_TWICE

_log = logging.getLogger(__name__)

#: A run goes on with one step after the other for so long; then others have their turn.
LONGEST_RUN = timedelta(seconds=60)
#: What is to be waited for shorter than this is waited for in the run.
_SHORT = timedelta(milliseconds=20)
_NOT_READY = timedelta(seconds=5)
_LOOK_UP_AGAIN = timedelta(seconds=30)
#: Where a try is to be looked up and its account waits for a person.
ACCOUNT_AGAIN = timedelta(minutes=1)
#: Visible tries that are not found and yet may have had their effect.
_DOUBTS = 1

#: What an attempt ends with whose visible step had no effect.
_NO_EFFECT = Answer(
    AnswerClass.RETRY,
    Phase.PUBLISH,
    Code.PLATFORM_API_ERROR,
    "the visible step failed, and a look-up found that it had no effect",
)


class OvertakenError(Exception):
    """The post is not what it was when it was loaded: somebody decided, or another worker has it. Load it again."""


class PublishRun:
    """Takes a post that is claimed, being published, or of unknown outcome as far as it comes. For one thread."""

    def __init__(
        self,
        means: Means,
        platform: Platform,
        job: Job,
        post: PostToPublish,
        authorisation: Authorisation,
        conversation: Conversation,
    ) -> None:
        self._means = means
        self._steps = means.steps
        self._platform = platform
        self._job = job
        self._post = post
        self._at = Position(post)
        self._authorisation = authorisation
        self._conversation = conversation
        self._refreshed = False

    def run(self) -> Outcome:
        """Go on until there is an outcome.

        Raises:
            OvertakenError: the post changed meanwhile.
            CircuitOpenError: the platform is not to be asked now.
            PenstockError: of the `STORAGE_` family.
        """
        ends_at = time.monotonic() + LONGEST_RUN.total_seconds()
        while time.monotonic() < ends_at:
            outcome = self._step()
            if outcome is not None:
                self._steps.record(self._conversation.take_records())
                return outcome
        return Postpone(_SHORT, self._at.gate("turn"))

    def _step(self) -> Outcome | None:
        try:
            if self._at.is_in_doubt:
                return self._look_up()
            return self._publish() if self._at.notes.ready else self._prepare()
        except PlatformFault as fault:
            return self._judge(fault.answer)

    def _prepare(self) -> Outcome | None:
        prepared = self._conversation.call(
            Phase.PREPARE,
            self._at.attempt,
            lambda: self._platform.prepare(self._at.publication(self._authorisation.external_id), self._token),
        )
        before = (self._at.handle, self._at.notes)
        self._at.handle, self._at.notes = prepared.handle, self._at.notes.prepared(prepared)
        # What is ready and due is stored with the beginning of the visible step; a crash before only prepares again.
        self._require(self._steps.keep(self._post, self._at.handle, self._at.notes, self._conversation.take_records()))
        if prepared.ready:
            return None
        # Where nothing moved, asking again at once would go on for as long as nothing moves.
        wait = max(prepared.wait, _NOT_READY) if before == (self._at.handle, self._at.notes) else prepared.wait
        return None if wait <= _SHORT else Postpone(wait, self._at.gate("preparing"))

    def _publish(self) -> Outcome:
        early = self._post.due_at - self._means.clock()
        if early > _SHORT:
            return Postpone(early, "due")
        # Before it is begun: a circuit that lets nothing in should not leave a try that was never made.
        self._conversation.enter()
        time.sleep(max(0.0, early.total_seconds()))
        self._begin()
        published = self._conversation.call(
            Phase.PUBLISH,
            self._at.attempt,
            lambda: self._platform.publish(self._at.publication(self._authorisation.external_id), self._token),
        )
        return self._finish(published.external_id, published.url, self._means.clock())

    def _begin(self) -> None:
        began = self._steps.begin(
            self._post, self._at.handle, self._means.visible_for, self._conversation.take_records()
        )
        if not isinstance(began, Began):
            # Another worker has the post, or it was decided on.
            raise OvertakenError
        self._at.begun(began.attempt, self._means.clock())

    def _look_up(self) -> Outcome | None:
        sighting = self._conversation.call(
            Phase.LOOK_UP,
            self._at.attempt,
            lambda: self._platform.look_up(self._at.publication(self._authorisation.external_id), self._token),
        )
        match sighting:
            case Found(external_id=external_id, url=url):
                return self._finish(external_id, url, self._at.began_at or self._means.clock())
            case Unknown(reason=reason):
                return self._end_unknown(reason)
            case NotFound():
                return self._not_found(sighting)

    def _not_found(self, sighting: NotFound) -> Outcome | None:
        if self._at.unknown:
            return self._end_unknown("it was not found")
        waits = self._means.look_ups
        if not sighting.certain and self._at.notes.looks < len(waits):
            wait, self._at.notes = waits[self._at.notes.looks], replace(self._at.notes, looks=self._at.notes.looks + 1)
            self._keep()
            return Postpone(wait, self._at.gate("look-up"))
        doubts = self._at.notes.doubts + (not sighting.certain)
        if doubts > _DOUBTS:
            return self._end_unknown("several tries were not found")
        notes = replace(self._at.notes, looks=0, doubts=doubts, ready=not sighting.resume)
        handle = self._at.handle
        if not sighting.handle_usable:
            handle, notes = None, notes.unprepared()
        return self._take_back(sighting.certain, handle, notes)

    def _take_back(self, certain: bool, handle: str | None, notes: Notes) -> Outcome | None:
        """Let there be another try, as soon as this one can't be under way any more."""
        calls = self._conversation.take_records()
        if certain and self._at.own_try:
            taken = self._steps.withdraw(self._post, self._at.attempt, _NO_EFFECT.code, handle, notes, calls)
            self._require(taken)
        elif not self._steps.withdraw_after_look_up(self._post, self._at.attempt, handle, notes, calls):
            now = self._steps.load(self._post.post_id)
            if now is None or now.state != PostState.PUBLISHING or now.attempts != self._at.attempt:
                raise OvertakenError
            return Postpone(max(now.attempt_left or timedelta(), timedelta(seconds=1)), self._at.gate("look-up"))
        own_try = self._at.own_try
        self._at.taken_back(handle, notes)
        # A try of this run failed, so the platform is given time; a try of a worker that is no more says nothing of it.
        return self._try_again(_NO_EFFECT) if own_try else None

    def _finish(self, external_id: str | None, url: str | None, at: datetime) -> Outcome:
        post = self._post
        calls = self._conversation.take_records()
        marked = self._steps.published(self._job, post, (external_id, url), at, calls)
        if marked is Marked.OTHER:
            POSTS_PUBLISHED_TWICE.labels(post.platform).inc()
            _log.critical("the post %s is on %s twice: the latter is %s", post.post_id, post.platform, external_id)
        if marked is not Marked.NOW:
            return Done(repeated=True)
        POST_LATENESS.labels(post.platform).observe(max(0.0, (at - post.due_at).total_seconds()))
        if external_id is not None:
            self._confirm(external_id, url)
        return Done(counts={"published": 1})

    def _confirm(self, external_id: str, url: str | None) -> None:
        """Read back what was published. It is published, whatever comes of this."""
        publication = replace(self._at.publication(self._authorisation.external_id), external_id=external_id, url=url)
        try:
            read = self._conversation.call(
                Phase.CONFIRM, self._at.attempt, lambda: self._platform.confirm(publication, self._token)
            )
        except PlatformFault as fault:
            answer = fault.answer
            _log.warning(
                "the post %s is published; reading it back: %s",
                self._post.post_id,
                answer.detail,
                extra={"code": answer.code},
            )
            return
        found = read.url if url is None else None
        self._steps.confirmed(self._post, found, self._conversation.take_records())

    def _judge(self, answer: Answer) -> Outcome | None:
        match answer.cls:
            case AnswerClass.AMBIGUOUS | AnswerClass.DUPLICATE:
                return self._doubt(answer)
            case AnswerClass.PERMANENT:
                return self._refused(answer)
        if self._at.publishing and answer.phase is Phase.PUBLISH:
            # The platform said so: nothing is visible.
            self._withdraw(answer)
        match answer.cls:
            case AnswerClass.AUTH:
                return self._unauthorised(answer)
            case AnswerClass.LIMITED:
                return Postpone(answer.retry_after or ACCOUNT_AGAIN, _limit_of(answer, self._at.gate("limit")))
            case AnswerClass.PENDING:
                return Postpone(answer.retry_after or _NOT_READY, self._at.gate("preparing"))
            case _:
                return self._retry(answer)

    def _doubt(self, answer: Answer) -> Outcome | None:
        """A visible step may have had its effect: look it up, at once the first time."""
        if not self._at.is_in_doubt:
            # What prepared the post found that it is there: an earlier life of it made the visible step.
            self._begin()
        if answer.phase is Phase.LOOK_UP:
            return Postpone(answer.retry_after or _LOOK_UP_AGAIN, self._at.gate("look-up"))
        return None

    def _refused(self, answer: Answer) -> Outcome:
        if answer.phase is Phase.LOOK_UP or self._at.notes.doubts or self._at.unknown:
            return self._end_unknown(answer.detail)
        attempt = self._at.attempt if self._at.publishing else None
        self._require(self._steps.dead(self._post, attempt, answer.code, self._conversation.take_records()))
        return Dead(answer.code, _told(answer))

    def _retry(self, answer: Answer) -> Outcome:
        if self._at.is_in_doubt:
            # A look-up that can't be made now costs nothing: the try before it is what counts.
            return Postpone(answer.retry_after or _LOOK_UP_AGAIN, self._at.gate("look-up"))
        if answer.restart:
            if self._at.notes.doubts:
                return self._end_unknown(answer.detail)
            self._at.handle, self._at.notes = None, self._at.notes.unprepared()
            self._keep()
        return self._try_again(answer)

    def _try_again(self, answer: Answer) -> Outcome:
        if self._job.attempt > self._means.max_retries:
            return self._refused(answer)
        return Retry(answer.code, _told(answer), answer.retry_after)

    def _unauthorised(self, answer: Answer) -> Outcome | None:
        if answer.refresh and not self._refreshed:
            self._refreshed = True
            renewed = self._means.authoriser.renew(self._authorisation)
            if isinstance(renewed, Authorisation):
                self._authorisation = renewed
                return None
            if isinstance(renewed, Wait):
                return Postpone(renewed.delay, f"account:{self._post.account_id}")
            return self._park()
        self._means.authoriser.end(self._authorisation, answer.code)
        return self._park()

    def _park(self) -> Outcome:
        if self._at.is_in_doubt:
            # Its try is to be looked up, for which the account is needed too.
            return Postpone(ACCOUNT_AGAIN, f"account:{self._post.account_id}")
        self._require(self._steps.park(self._job, self._post, self._conversation.take_records()))
        return Done(counts={"parked": 1})

    def _end_unknown(self, why: str) -> Outcome:
        calls = self._conversation.take_records()
        if self._at.unknown:
            self._steps.record(calls)
        else:
            code = Code.POST_UNKNOWN_OUTCOME
            self._require(self._steps.unknown(self._post, self._at.attempt, code, calls))
        told = f"whether the post is live on {self._post.platform} can't be told: {why}"
        return Dead(Code.POST_UNKNOWN_OUTCOME, told)

    def _withdraw(self, answer: Answer) -> None:
        notes = self._at.notes
        if answer.cls is AnswerClass.PENDING:
            notes = replace(notes, ready=False)
        calls = self._conversation.take_records()
        taken = self._steps.withdraw(self._post, self._at.attempt, answer.code, self._at.handle, notes, calls)
        self._require(taken)
        self._at.taken_back(self._at.handle, notes)

    def _keep(self) -> None:
        self._require(self._steps.keep(self._post, self._at.handle, self._at.notes, self._conversation.take_records()))

    @property
    def _token(self) -> Secret:
        return self._authorisation.tokens.access

    def _require(self, mine: bool) -> None:
        if not mine:
            raise OvertakenError


def _limit_of(answer: Answer, otherwise: str) -> str:
    """What the answer blocked, as gates name it."""
    blocked = [fact.key for fact in answer.limit_facts if fact.blocked_for is not None]
    return f"blocked:{blocked[-1]}" if blocked else otherwise


def _told(answer: Answer) -> str:
    return f"{answer.detail} ({answer.platform_code})" if answer.platform_code else answer.detail
