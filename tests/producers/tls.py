"""TLS in front of a server that has none of its own: a certificate authority made on the spot, and a relay."""

import socket
import ssl
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

from penstock.workers.embedded import ports
from tests.debian import require_program


class Authority:
    """A certificate authority in a folder; issues certificates for 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        self._openssl = require_program("openssl", "openssl")
        self._folder = folder
        self.certificate = folder / "ca.pem"
        self._run(
            "req", "-x509", *_NEW_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test-ca"
        )
        (folder / "names").write_text(f"subjectAltName=IP:{ports.LOOPBACK}\n")

    def issue(self, name: str) -> tuple[Path, Path]:
        """The files of a certificate and its key."""
        self._run("req", *_NEW_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
        self._run("x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.pem")
        return self._folder / f"{name}.pem", self._folder / f"{name}.key"

    def _run(self, *arguments: str) -> None:
        subprocess.run([self._openssl, *arguments], cwd=self._folder, check=True, capture_output=True, timeout=60)


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class TlsRelay:
    """Takes TLS connections of clients that bring a certificate of the authority, and passes them on to a port."""

    def __init__(self, authority: Authority, target_port: int) -> None:
        certificate, key = authority.issue("server")
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.certificate))
        self._context.load_cert_chain(certificate, key)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._target_port = target_port
        self._listener = socket.create_server((ports.LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                raw, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        with (
            raw,
            suppress(OSError),  # a client that is refused, or leaves
            self._context.wrap_socket(raw, server_side=True) as client,
            socket.create_connection((ports.LOOPBACK, self._target_port)) as server,
        ):
            back = threading.Thread(target=_pass_on, args=(server, client), daemon=True)
            back.start()
            _pass_on(client, server)
            back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)
