"""A way to PostgreSQL that breaks at the worst moment: after a COMMIT was done, before its answer arrives."""

import socket
import socketserver
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

#: CommandComplete of a COMMIT in PostgreSQL's protocol: its kind, its length, its tag.
_COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"


class LossyProxy:
    """Forwards TCP to the server of `url`; the first `losses` answers to COMMIT are swallowed with their connection."""

    def __init__(self, url: str, losses: int = 1) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 5432)
        self.losses_left = losses
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                proxy._serve(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        host, _, _ = parts.netloc.rpartition("@")
        port = self._server.server_address[1]
        #: As `url`, by way of the proxy. TLS would hide the answers from it.
        self.url = parts._replace(
            netloc=f"{host}@127.0.0.1:{port}", query="sslmode=disable&gssencmode=disable"
        ).geturl()

    def _serve(self, client: socket.socket) -> None:
        with socket.create_connection(self._target) as server:
            forward = threading.Thread(target=_pump, args=(client, server), daemon=True)
            forward.start()
            while data := server.recv(65_536):
                if self.losses_left and _COMMITTED in data:
                    self.losses_left -= 1
                    break
                client.sendall(data)
            for end in (client, server):
                _hang_up(end)
            forward.join()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            sink.sendall(data)
    except OSError:
        return  # the other direction has hung up
    _hang_up(sink)


def _hang_up(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is closed already
