"""The stand-in itself: its record, its faults by request, rule and seed, and what a trial asks of it over HTTP."""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from penstock.workers.platforms.catalogue import Platforms
from penstock.workers.stand_in.exchange import read_request
from penstock.workers.stand_in.faults import NAMED, Faults
from penstock.workers.stand_in.server import StandIn, environment_at
from tests.workers.platforms.driver import open_platforms, walk

SHARES = {"reset_after": 0.1, "reset_before": 0.1, "html_after": 0.1, "truncated_after": 0.1, "away": 0.1}


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


@pytest.fixture
def platforms(stand_in: StandIn) -> Iterator[Platforms]:
    with open_platforms(stand_in) as opened:
        yield opened


def post_status(stand_in: StandIn, text: str, token: str = "one.0", **headers: str) -> httpx.Response:
    headers["Authorization"] = f"Bearer {token}"
    return httpx.post(f"{stand_in.url}/mastodon/api/v1/statuses", json={"status": text}, headers=headers)


def test_a_request_chooses_its_own_fault(stand_in: StandIn) -> None:
    with pytest.raises(httpx.TransportError):
        post_status(stand_in, "a", **{"X-Stand-In-Fault": "reset_after"})
    with pytest.raises(httpx.TransportError):
        post_status(stand_in, "b", **{"X-Stand-In-Fault": "reset_before"})
    assert post_status(stand_in, "c", **{"X-Stand-In-Fault": "html_after"}).status_code == 500
    assert [one.text for one in stand_in.world.publications()] == ["a", "c"]


def test_doubles_are_counted(stand_in: StandIn) -> None:
    for text in ("a", "b", "a", "a"):
        assert post_status(stand_in, text).status_code == 200
    assert [one.text for one in stand_in.world.doubles()] == ["a", "a"]
    listed = httpx.get(f"{stand_in.url}/__ctl/doubles").json()["items"]
    assert [one["text"] for one in listed] == ["a", "a"]


def test_a_blind_retry_is_found_out(stand_in: StandIn, platforms: Platforms) -> None:
    """The control of all that counts publications: who calls again without looking publishes twice."""
    for kind in ("instagram-image", "facebook-text", "facebook-reel"):
        operation = {"instagram-image": "instagram.publish", "facebook-text": "facebook.feed"}.get(
            kind, "*.video_finish"
        )
        stand_in.faults.add(operation, "reset_after")
        post = walk(stand_in, platforms, kind, f"of {kind}")
        post._look_up = lambda _token, post=post: setattr(post, "_step", "publish")  # type: ignore[method-assign, misc]
        assert post.run().end == "published"
    assert len(stand_in.world.doubles()) == 3


def test_a_seed_draws_the_same_faults_in_their_shares() -> None:
    request = read_request("GET", "/x", {}, b"")

    def drawn(seed: int) -> list[str]:
        faults = Faults()
        faults.seed(seed, SHARES)
        names = {id(fault): name for name, fault in NAMED.items()}
        return [names[id(fault)] if fault else "" for fault in (faults.choose("a.b", request) for _ in range(2_000))]

    assert drawn(1) == drawn(1) != drawn(2)
    counted = Counter(drawn(1))
    assert all(150 < counted[name] < 250 for name in SHARES)
    with pytest.raises(ValueError, match="shares"):
        Faults().seed(1, {"nonsense": 0.1})


def test_many_posts_under_seeded_faults_are_there_at_most_once(stand_in: StandIn, platforms: Platforms) -> None:
    stand_in.faults.seed(7, {name: share / 2 for name, share in SHARES.items()})
    kinds = ("instagram-image", "facebook-text", "facebook-photo", "youtube-video", "mastodon-text")
    posts = [
        walk(
            stand_in,
            platforms,
            kind,
            f"{kind} number {number}",
            name=f"{kind}-{number % 2}",
            post_id=f"{kind}-{number}",
        )
        for number in range(8)
        for kind in kinds
    ]
    ends = Counter(post.run().end for post in posts)
    assert stand_in.world.doubles() == []
    there = {(one.account, one.text) for one in stand_in.world.publications()}
    for post in posts:
        known = (post.publication.account.external_id, post.publication.content.text)
        assert post.end == "unknown_outcome" or (known in there) == (post.end == "published"), post.codes
    assert ends["published"] >= 35, ends


def test_a_trial_is_steered_over_http(stand_in: StandIn) -> None:
    control = f"{stand_in.url}/__ctl"
    before = stand_in.world.now()
    assert httpx.post(f"{control}/advance", json={"seconds": 3_600}).status_code == 204
    assert stand_in.world.now() - before >= timedelta(hours=1)
    fault = {"operation": "mastodon.*", "fault": "html_after"}
    assert httpx.post(f"{control}/faults", json=fault).status_code == 204
    assert [post_status(stand_in, "a").status_code, post_status(stand_in, "b").status_code] == [500, 200]
    assert httpx.post(f"{control}/seed", json={"seed": 1, "shares": {"away": 1.0}}).status_code == 204
    assert post_status(stand_in, "c").status_code == 503
    assert httpx.post(f"{control}/clear").status_code == 204
    assert httpx.post(f"{control}/scenario", json={"name": "day-is-full"}).status_code == 204
    assert stand_in.world.knobs.instagram_daily == 0
    assert httpx.post(f"{control}/scenario", json={"name": "nonsense"}).status_code == 400
    assert [one["text"] for one in httpx.get(f"{control}/publications").json()["items"]] == ["a", "b"]


def test_one_account_is_steered_apart_from_the_others(stand_in: StandIn) -> None:
    control = f"{stand_in.url}/__ctl"
    fault = {"operation": "mastodon.publish", "fault": "html_after", "account": "two", "after": 1}
    assert httpx.post(f"{control}/faults", json=fault).status_code == 204
    told = [post_status(stand_in, text, token).status_code for text in "ab" for token in ("one.0", "two.0")]
    assert told == [200, 200, 200, 500]
    assert httpx.post(f"{control}/scenario", json={"name": "day-is-full", "account": "two"}).status_code == 204
    assert [stand_in.world.knobs_of(name).instagram_daily for name in ("one", "two")] == [50, 0]
    turned = {"account": "two", "knobs": {"polls": 7, "tokens": {"two.0": "revoked"}}}
    assert httpx.post(f"{control}/knobs", json=turned).status_code == 204
    assert [stand_in.world.knobs_of(name).polls for name in ("one", "two")] == [2, 7]
    assert [post_status(stand_in, "c", token).status_code for token in ("one.0", "two.0")] == [200, 401]
    assert httpx.post(f"{control}/knobs", json={"knobs": {"nonsense": 1}}).status_code == 400
    assert httpx.get(f"{control}/calls").json() == {"mastodon.publish": 6}


def test_what_a_seed_chose_is_counted(stand_in: StandIn) -> None:
    stand_in.faults.seed(1, {"html_after": 1.0})
    post_status(stand_in, "a")
    stand_in.faults.add("*", "away")
    post_status(stand_in, "b")
    assert httpx.get(f"{stand_in.url}/__ctl/drawn").json() == {"html_after": 1}


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_runs_as_a_process_that_says_what_to_set(stop: signal.Signals) -> None:
    command = [sys.executable, "-m", "penstock.workers.stand_in"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(7)]
        url = lines[0].removeprefix("PENSTOCK_INSTAGRAM_URL=").removesuffix("/instagram")
        assert lines == [f"{name}={value}" for name, value in environment_at(url).items()]
        assert httpx.get(f"{url}/__ctl/publications").json() == {"items": []}
        process.send_signal(stop)
        assert process.wait(60) == 0
        assert process.stdout.read() == ""
