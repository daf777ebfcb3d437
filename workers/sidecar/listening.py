"""Where the sidecar listens: addresses as settings name them, and their sockets."""

import socket

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.settings import WorkerSettings
from penstock.workers.sidecar.access.credentials import parse_credentials
from penstock.workers.sidecar.access.gatekeeper import is_loopback


def split_address(text: str) -> tuple[str, int]:
    """Host and port of `host:port`.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where the port is none.
    """
    host, _, port = text.rpartition(":")
    if int(port) > 65_535:
        raise InvalidInputError(Code.CONFIG_INVALID, f"{port} is no port")
    return host.strip("[]"), int(port)


def require_guarded(settings: WorkerSettings) -> None:
    """See that what is open to others wants a log-in.

    Raises:
        InvalidInputError: `CONFIG_INVALID`, off loopback without a credential.
    """
    host, _ = split_address(settings.sidecar_listen)
    if not is_loopback(host) and not parse_credentials(settings.sidecar_credentials):
        raise InvalidInputError(
            Code.CONFIG_INVALID,
            f"PENSTOCK_SIDECAR_LISTEN is {settings.sidecar_listen}, which others can reach, and nobody could log in",
            remedy="Make a credential (penstock sidecar credential NAME --role admin) and put its line into"
            " PENSTOCK_SIDECAR_CREDENTIALS, or listen on 127.0.0.1.",
        )


def listen(address: str) -> socket.socket:
    """A socket that listens there.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where the address can't be had.
    """
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        made = socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise InvalidInputError(
            Code.CONFIG_INVALID,
            f"can't listen on {address}: {error.strerror or type(error).__name__}",
            remedy="Choose another address, or end what listens there.",
        ) from None
    # Connections inherit it; asyncio sets it only where the protocol was named. Without, the body of an answer waits
    # some 40 ms for the asker's word on its head.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made
