"""The server of the stand-in: `with StandIn() as platforms:`; `python -m penstock.workers.stand_in` for a person.

`/__ctl` is for whoever runs a trial: GET `publications`, `doubles`, `calls`, `drawn`; POST `faults`, `seed`, `advance`,
`clear`, `scenario`, `knobs`.
"""

import os
import socket
import struct
import threading
from collections.abc import Callable
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Protocol, Self

from penstock.workers.stand_in.exchange import Request, Response, read_request
from penstock.workers.stand_in.facebook import Facebook
from penstock.workers.stand_in.facebook_video import BROKEN
from penstock.workers.stand_in.faults import Fault, Faults
from penstock.workers.stand_in.files import serve_file
from penstock.workers.stand_in.instagram import Instagram
from penstock.workers.stand_in.mastodon import Mastodon
from penstock.workers.stand_in.world import World
from penstock.workers.stand_in.youtube import YouTube

Action = Callable[[], Response]
HOST = "127.0.0.1"
_RESET = struct.pack("ii", 1, 0)


class _Room(Protocol):
    def route(self, request: Request, path: list[str]) -> tuple[str, Action]: ...


def environment_at(url: str) -> dict[str, str]:
    """The settings with which Penstock talks to a stand-in at that address."""
    return {
        "PENSTOCK_INSTAGRAM_URL": f"{url}/instagram",
        "PENSTOCK_FACEBOOK_URL": f"{url}/facebook",
        "PENSTOCK_FACEBOOK_UPLOAD_URL": f"{url}/rupload",
        "PENSTOCK_YOUTUBE_URL": f"{url}/google",
        "PENSTOCK_GOOGLE_TOKEN_URL": f"{url}/google/token",
        "PENSTOCK_MASTODON_URL": f"{url}/mastodon",
        "PENSTOCK_MEDIA_PRIVATE_HOSTS": HOST,
    }


class StandIn:
    """All platforms at one address, while the `with` block lasts.

    Attributes:
        url: where it listens, such as `http://127.0.0.1:43210`.
        world: its clock, its knobs, and what was published.
        faults: what goes wrong.
    """

    def __init__(self, port: int = 0) -> None:
        self.world, self.faults = World(), Faults()
        self.youtube = YouTube(self.world)
        self._instagram, self._facebook = Instagram(self.world), Facebook(self.world)
        self._mastodon = Mastodon(self.world)
        self.stopping = threading.Event()
        self._server = _Server((HOST, port), self)
        self.url = self.world.base = f"http://{HOST}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="stand-in", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def environment(self) -> dict[str, str]:
        """The settings with which Penstock talks to the stand-in."""
        return environment_at(self.url)

    def file(self, name: str, size: int = 1_000) -> str:
        """The address of a file of so many bytes."""
        return f"{self.url}/files/{name}?bytes={size}"

    def route(self, request: Request) -> tuple[str, Action]:
        """The operation's name, and what does it."""
        first, *rest = [part for part in request.path.split("/") if part] or [""]
        if first == "files":
            return "files.read", lambda: serve_file(request)
        if first == "rupload":
            return self._facebook.upload(request, rest[-1] if rest else "")
        rooms: dict[str, _Room] = {"instagram": self._instagram, "facebook": self._facebook, "google": self.youtube}
        rooms["mastodon"] = self._mastodon
        room = rooms.get(first)
        return room.route(request, rest) if room else ("unknown", lambda: Response(404, {"error": "not found"}))

    def control(self, request: Request) -> Response:
        """What `/__ctl` was asked."""
        fields, asked = request.fields, request.path.rsplit("/", 1)[-1]
        if request.method == "GET":
            return self._told(asked)
        account = str(fields.get("account", ""))
        actions: dict[str, Callable[[], Any]] = {
            "faults": lambda: self.faults.add(
                fields["operation"],
                fields["fault"],
                times=int(fields.get("times", 1)),
                after=int(fields.get("after", 0)),
                account=account,
            ),
            "seed": lambda: self.faults.seed(int(fields["seed"]), fields["shares"]),
            "advance": lambda: self.world.advance(timedelta(seconds=float(fields["seconds"]))),
            "clear": self.faults.clear,
            "scenario": lambda: self.play(str(fields["name"]), account),
            "knobs": lambda: self.world.turn(account, fields["knobs"]),
        }
        try:
            actions[asked]()
        except (KeyError, TypeError, ValueError) as error:
            return Response(400, {"error": f"{type(error).__name__}: {error}"})
        return Response(204, b"")

    def play(self, name: str, account: str = "") -> None:
        """Set up a scenario by its name, for one account or, where none is named, for all."""
        from penstock.workers.stand_in.scenarios import SCENARIOS, Stage  # noqa: PLC0415 - they are made of this class

        SCENARIOS[name].set_up(Stage(self, account))

    def _told(self, asked: str) -> Response:
        if asked in {"calls", "drawn"}:
            return Response(body=self.world.all_calls() if asked == "calls" else dict(self.faults.drawn))
        listed = self.world.doubles() if asked == "doubles" else self.world.publications()
        return Response(body={"items": [one.as_dict() for one in listed]})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], stand_in: StandIn) -> None:
        super().__init__(address, _Handler)
        self.stand_in = stand_in

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Callers that hang up are what this server is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two packets: the second one would wait for the first one's receipt, 40 ms.
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Requests hold tokens."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = read_request(self.command, self.path, dict(self.headers.items()), body)
        stand_in = self.server.stand_in
        if request.path.startswith("/__ctl/"):
            self._answer(stand_in.control(request))
            return
        operation, action = stand_in.route(request)
        stand_in.world.count_call(operation)
        fault = stand_in.faults.choose(operation, request)
        response = Response()
        if fault is None or fault.applied:
            with stand_in.world.lock:
                response = action()
        self._end(fault or Fault(True), response)

    def _end(self, fault: Fault, response: Response) -> None:
        stopping = self.server.stand_in.stopping
        if fault.seconds:
            stopping.wait(fault.seconds)
        response = fault.response or response
        if fault.ending != "answer" or response.status == BROKEN:
            self._break_off()
        else:
            self._answer(response, truncated=fault.truncated)

    def _answer(self, response: Response, *, truncated: bool = False) -> None:
        body = response.encoded()
        body = body[: len(body) // 2] if truncated else body
        self.send_response(response.status)
        for name, value in {"Content-Type": "application/json", **response.headers}.items():
            self.send_header(name, value)
        if response.status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _break_off(self) -> None:
        """Close so that the other side sees a reset, and not an orderly end."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        os.close(self.connection.detach())
