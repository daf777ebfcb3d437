"""A scheduled post: the trace of who scheduled it, days later the one of its publication, and the calls in that."""

import uuid

from penstock.producers import traced as within_trace
from tests.otlp_collector import Collector
from tests.recovery.posts_trial import PostsTrial, posts, soon, stand_in, text_post
from tests.system import wait_for
from tests.workers.telemetry.traces_kit import SECRET, child_of, texts_of, trace_for

__all__ = ["posts", "stand_in"]


def test_a_publication_links_to_who_scheduled_it_and_has_the_platforms_calls(
    posts: PostsTrial, collector: Collector
) -> None:
    account = posts.add_account("mastodon", "toots")
    posts.start_scheduler(**collector.env)
    posts.start_worker(**collector.env)
    trace_id = uuid.uuid4().hex
    with within_trace(trace_for(trace_id)):
        (post_id,) = posts.schedule([(account, text_post(SECRET), soon())])
    posts.wait_until_stored([post_id])
    posts.wait_until_ended(60)
    assert len(posts.stand_in.publications()) == 1
    wait_for(lambda: "process posts" in [span.name for span in collector.trace(trace_id)], "the span of its intake")
    (intake,) = [span for span in collector.trace(trace_id) if span.name == "process posts"]
    publish = collector.wait_for("process publishing")[0]
    assert intake.place in publish.links
    assert publish.trace_id != trace_id
    trace = collector.whole(publish.trace_id, "enqueue publishing", "POST /api/v1/statuses")
    (enqueue,) = [span for span in trace if not span.parent]
    assert (enqueue.name, enqueue.service, publish.parent) == (
        "enqueue publishing", "penstock-scheduler", enqueue.span_id
    )  # fmt: skip
    call = child_of(trace, publish, "POST /api/v1/statuses")
    assert (call.kind, call.attributes) == (
        "client",
        {
            "http.request.method": "POST",
            "url.template": "/api/v1/statuses",
            "http.response.status_code": 200,
        },
    )
    told = texts_of([*trace, *collector.trace(trace_id)])
    for secret in (SECRET, "toots-0", str(account.account_id), str(post_id)):
        assert secret not in told.replace(intake.attributes["messaging.message.id"], ""), secret
