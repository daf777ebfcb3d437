"""The client of platforms: what it never tells, and what it survives."""

import logging
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from pydantic import SecretStr

from penstock.workers.platforms.answers import PlatformFault
from penstock.workers.platforms.catalogue import Platforms
from penstock.workers.platforms.endpoints import Patience
from penstock.workers.platforms.http import LONGEST_BODY_BYTES, Call, PlatformHttp, Reply
from penstock.workers.platforms.usage import limit_facts, told_wait
from penstock.workers.stand_in.exchange import Response
from penstock.workers.stand_in.faults import NAMED, replying
from penstock.workers.stand_in.server import StandIn
from tests.workers.platforms.driver import walk

TOKEN = "verysecrettoken"


@pytest.fixture
def http() -> Iterator[PlatformHttp]:
    client = PlatformHttp(Patience(timedelta(seconds=1), timedelta(seconds=0.4), timedelta(seconds=1)))
    yield client
    client.close()


def ask(stand_in: StandIn, http: PlatformHttp) -> Reply:
    return http.send(Call("GET", f"{stand_in.url}/mastodon/api/v1/statuses/1", "/x", token=SecretStr(TOKEN)))


@pytest.mark.parametrize(("fault", "failure"), [
    ("reset_before", "lost"), ("hang_before", "timed_out"), ("html_before", ""), ("empty_after", ""),
    ("slow", "timed_out"),
])  # fmt: skip
def test_every_call_ends_in_a_reply(stand_in: StandIn, http: PlatformHttp, fault: str, failure: str) -> None:
    stand_in.faults.add("mastodon.read", fault)
    reply = ask(stand_in, http)
    assert (reply.failure, reply.json() is None) == (failure, True)


def test_a_connection_that_can_not_be_made_was_never_a_request(http: PlatformHttp) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/x"
        assert http.send(Call("POST", url, "/x")).failure == "unreachable"


def test_a_redirection_is_not_followed_and_takes_no_token_along(stand_in: StandIn, http: PlatformHttp) -> None:
    stand_in.faults.add("mastodon.read", replying(Response(302, b"", {"Location": f"{stand_in.url}/files/a.jpg"})))
    assert ask(stand_in, http).status == 302
    assert stand_in.world.calls("files.read") == 0


def test_a_long_body_is_not_read_on(stand_in: StandIn, http: PlatformHttp) -> None:
    stand_in.faults.add("mastodon.read", replying(Response(200, b"x" * (LONGEST_BODY_BYTES + 1))))
    reply = ask(stand_in, http)
    assert (reply.failure, reply.body) == ("oversized", b"")


def test_a_body_that_drips_ends_with_the_whole_time(http: PlatformHttp) -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not stop.wait(0.1):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        began = time.monotonic()
        reply = http.send(Call("GET", f"http://127.0.0.1:{server.getsockname()[1]}/x", "/x"))
        stop.set()
        thread.join()
    assert reply.failure == "timed_out"
    assert 0.9 < time.monotonic() - began < 8


def test_neither_logs_nor_errors_tell_tokens_or_texts(
    stand_in: StandIn, platforms: Platforms, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    faults = []
    for kind in ("instagram-image", "facebook-photo", "youtube-video", "mastodon-image"):
        stand_in.faults.add(f"{kind.partition('-')[0]}.*", "html_before")
        post = walk(stand_in, platforms, kind, "a private text", token=f"{TOKEN}.0").run()
        faults += post.answers
    account = post.publication.account
    stand_in.faults.add("*.refresh", NAMED["html_before"])
    with pytest.raises(PlatformFault) as caught:
        platforms.tokens.instagram(account, SecretStr(TOKEN))
    told = f"{faults} {caught.value!r} {caught.value.as_dict()} {caught.value.answer} {caplog.text}"
    assert len(faults) >= 4
    assert TOKEN not in told
    assert "private" not in told
    assert "upload_id" not in told


def test_usage_headers_become_facts() -> None:
    headers = {
        "x-app-usage": '{"call_count":28,"total_time":96,"total_cputime":25}',
        "x-business-use-case-usage": '{"17":[{"type":"pages","call_count":97,"estimated_time_to_regain_access":19}]}',
        "x-ratelimit-remaining": "12",
        "retry-after": "30",
    }
    facts = limit_facts(headers, "facebook", "a1")
    assert [(fact.key, fact.used_percent, fact.blocked_for, fact.remaining) for fact in facts] == [
        ("platform:facebook", 96, timedelta(seconds=60), None),
        ("account:a1", 97, timedelta(minutes=19), None),
        ("account:a1", None, None, 12),
    ]
    assert told_wait(headers, facts) == timedelta(minutes=19)
    assert told_wait({"retry-after": "30"}, ()) == timedelta(seconds=30)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"call_count":"x"}', '{"1":[3]}', '{"1":[{"call_count":true}]}']
)
def test_usage_that_can_not_be_read_tells_nothing(text: str) -> None:
    headers = {"x-app-usage": text, "x-business-use-case-usage": text, "x-ratelimit-remaining": text}
    assert [fact for fact in limit_facts(headers, "facebook", "a1") if fact.blocked_for or fact.used_percent] == []


def test_usage_of_a_publication_is_handed_on(stand_in: StandIn, platforms: Platforms) -> None:
    stand_in.world.knobs.usage_percent = 40
    post = walk(stand_in, platforms, "instagram-image")
    while post._step == "prepare":
        post._prepare(SecretStr(post.token))
    published = post.platform.publish(post.publication, SecretStr(post.token))
    assert {fact.used_percent for fact in published.limit_facts} == {40}
