"""Media are fetched from public addresses alone, whatever a name resolves to and wherever it leads."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from penstock.schemas.errors import Code
from penstock.workers.platforms.answers import AnswerClass, PlatformFault
from penstock.workers.platforms.endpoints import Endpoints
from penstock.workers.platforms.media import MediaSource, resolve_public
from penstock.workers.settings import WorkerSettings
from penstock.workers.stand_in.exchange import Response
from penstock.workers.stand_in.faults import replying
from penstock.workers.stand_in.files import file_bytes
from penstock.workers.stand_in.server import StandIn


def endpoints() -> Endpoints:
    return Endpoints.of(WorkerSettings(DATABASE_URL="postgresql://nowhere/none", REDIS_URL="redis://nowhere"))


@pytest.fixture
def media() -> Iterator[MediaSource]:
    source = MediaSource(replace(endpoints(), private_hosts=frozenset({"127.0.0.1"})))
    yield source
    source.close()


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: found)


def test_a_file_is_read_by_pieces(stand_in: StandIn, media: MediaSource) -> None:
    url = stand_in.file("a.mp4", 1_000)
    file = media.look(url)
    assert (file.size_bytes, file.content_type) == (1_000, "video/mp4")
    assert media.piece(url, 0, 399) + media.piece(url, 400, 999) == file_bytes("a.mp4", 1_000)


@pytest.mark.parametrize("status", [404, 403, 500, 200])
def test_a_server_without_the_file_or_without_parts_is_told(stand_in: StandIn, media: MediaSource, status: int) -> None:
    stand_in.faults.add("files.read", replying(Response(status, b"x" * 5_000)))
    with pytest.raises(PlatformFault) as caught:
        media.look(stand_in.file("a.mp4"))
    assert caught.value.code is Code.PLATFORM_MEDIA_UNREACHABLE


def test_a_redirection_into_a_private_network_is_not_followed(stand_in: StandIn, media: MediaSource) -> None:
    stand_in.faults.add("files.read", replying(Response(302, b"", {"Location": "http://169.254.169.254/latest"})))
    with pytest.raises(PlatformFault) as caught:
        media.look(stand_in.file("a.mp4"))
    assert caught.value.code is Code.POST_MEDIA_ADDRESS_REFUSED
    assert caught.value.answer.cls is AnswerClass.PERMANENT


def test_a_redirection_to_the_same_kind_of_address_is_followed(stand_in: StandIn, media: MediaSource) -> None:
    stand_in.faults.add(
        "files.read", replying(Response(302, b"<p>moved</p>", {"Location": stand_in.file("b.mp4", 77)}))
    )
    assert media.look(stand_in.file("a.mp4")).size_bytes == 77


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:10.0.0.1", "0.0.0.0"])
def test_a_name_that_resolves_to_a_private_address_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    resolve_to(monkeypatch, "93.184.216.34", address)
    with pytest.raises(OSError):
        resolve_public("innocent.example.org")
    with pytest.raises(PlatformFault) as caught:
        MediaSource(endpoints()).look("https://innocent.penstock.io/a.mp4")
    assert caught.value.code is Code.POST_MEDIA_ADDRESS_REFUSED


def test_the_address_that_was_looked_at_is_the_one_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[Any] = []

    def connect(address: Any, *args: Any, **more: Any) -> None:
        connected.append(address)
        raise OSError

    resolve_to(monkeypatch, "93.184.216.34")
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(PlatformFault):
        MediaSource(endpoints()).look("https://innocent.penstock.io/a.mp4")
    assert connected == [("93.184.216.34", 443)]
