"""Publishing a post that was claimed: what its job finds, and what it does then."""

import logging
from datetime import timedelta

from penstock.schemas.errors import Code
from penstock.schemas.scheduled_post import PostState, PublishPost
from penstock.workers.job import Dead, Done, Job, Outcome, Postpone
from penstock.workers.posts.authorising import Closed, Wait
from penstock.workers.posts.conversation import Conversation
from penstock.workers.posts.means import Means
from penstock.workers.posts.publish_run import ACCOUNT_AGAIN, OvertakenError, PublishRun
from penstock.workers.posts.publishing import PostToPublish
from penstock.workers.telemetry.traces import link_job

_log = logging.getLogger(__name__)

#: How often a run begins anew where the post was changed under it, and when its job comes again after that.
_TRIES = 3
_AGAIN = timedelta(seconds=1)


class Publisher:
    """Publishes posts, each visibly once. Safe to share between threads.

    Nothing is held over a call to a platform, neither a transaction nor a lock: each step is committed before the next
    one, and a run that ends anywhere, in whatever way, leaves a post from which the next run goes on.
    """

    def __init__(self, means: Means) -> None:
        self._means = means
        self._steps = means.steps

    def publish(self, job: Job, order: PublishPost) -> Outcome:
        """Go on with a post as far as it comes now.

        Raises:
            CircuitOpenError: its platform is not to be asked now.
            PenstockError: of the `STORAGE_` family.
        """
        for _ in range(_TRIES):
            post = self._steps.load(order.post_id)
            try:
                if post is None or post.version != order.version:
                    return self._superseded(job, "gone" if post is None else post.state)
                return self._go_on(job, post)
            except OvertakenError:
                _log.debug("the post %s was changed meanwhile", order.post_id)
        return Postpone(_AGAIN, f"post:{order.post_id}")

    def _go_on(self, job: Job, post: PostToPublish) -> Outcome:
        match post.state:
            case PostState.PUBLISHED:
                return Done(repeated=True)
            case PostState.EXPIRED:
                return _expired(post)
            case PostState.DEAD:
                # Its job was given a new life, or the end of its old one was lost. Nothing of it was visible.
                self._steps.revive(post)
                raise OvertakenError
            case PostState.CLAIMED:
                return self._publish_in_time(job, post)
            case PostState.PUBLISHING | PostState.UNKNOWN_OUTCOME:
                return self._speak(job, post)
            case _:
                return self._superseded(job, post.state)

    def _publish_in_time(self, job: Job, post: PostToPublish) -> Outcome:
        late = self._steps.settle_lateness(job, post, self._means.clock())
        if late is PostState.EXPIRED:
            return _expired(post)
        return self._speak(job, post) if late is None else Done(counts={"held": 1})

    def _speak(self, job: Job, post: PostToPublish) -> Outcome:
        # It was scheduled days ago, maybe: that trace is over, and this one no part of it.
        link_job(str(job.job_id), post.trace)
        authorisation = self._means.authoriser.authorise(post.account_id)
        if isinstance(authorisation, Closed):
            return self._park(job, post)
        if isinstance(authorisation, Wait):
            if authorisation.error is not None:
                error = authorisation.error
                _log.error("the post %s waits: %s", post.post_id, error.message, extra={"code": error.code})
            return Postpone(authorisation.delay, f"account:{post.account_id}")
        platform = self._means.platforms[post.platform]
        with Conversation(self._means.speaker, post, platform.circuit, job.holder) as conversation:
            return PublishRun(self._means, platform, job, post, authorisation, conversation).run()

    def _park(self, job: Job, post: PostToPublish) -> Outcome:
        if post.state != PostState.CLAIMED:
            # Its visible try is to be looked up, for which the account is needed.
            return Postpone(ACCOUNT_AGAIN, f"account:{post.account_id}")
        if not self._steps.park(job, post, ()):
            raise OvertakenError
        return Done(counts={"parked": 1})

    def _superseded(self, job: Job, state: str) -> Done:
        self._steps.finish(job, state)
        return Done(repeated=True)


def _expired(post: PostToPublish) -> Dead:
    late = f"it was due at {post.due_at.isoformat()}, and could not be published within {post.grace}"
    return Dead(Code.POST_EXPIRED, late)
