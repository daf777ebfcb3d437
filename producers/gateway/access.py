"""Who asks: the bearer of an API key, or on loopback whoever is on this machine."""

import ipaddress
from typing import Protocol

from starlette.requests import Request

from penstock.producers.gateway.keys import Principal
from penstock.schemas.errors import Code, InvalidInputError


class Checks(Protocol):
    """Checks what the header `Authorization` brings; `keys.KeyCheck` does."""

    async def check(self, header: str | None) -> Principal:
        """The bearer.

        Raises:
            PenstockError: of the `AUTH_` family; `STORAGE_UNAVAILABLE` where nobody can tell now.
        """


class Access:
    """The door.

    Args:
        check: checks keys; None on loopback without keys.
        tenant: whose everything is then.
        hosts: names by which the gateway may be asked then, besides loopback's own. A page of another site that has
            its name lead to this machine would else be a client like any other.
    """

    def __init__(self, check: Checks | None, tenant: str, hosts: str = "") -> None:
        self._check = check
        self._alone = Principal.without_key(tenant)
        self._hosts = frozenset(name.strip().lower().strip("[]") for name in hosts.split(",") if name.strip())

    @property
    def wants_keys(self) -> bool:
        """Whether each request needs a key."""
        return self._check is not None

    async def principal(self, request: Request) -> Principal:
        """Who asks.

        Raises:
            PenstockError: of the `AUTH_` family; `REQUEST_HOST_UNKNOWN`.
        """
        if self._check is None:
            self._require_known_host(request)
            return self._alone
        return await self._check.check(request.headers.get("authorization"))

    def _require_known_host(self, request: Request) -> None:
        host = _host_of(request)
        if not (is_loopback(host) or host in self._hosts):
            raise InvalidInputError(
                Code.REQUEST_HOST_UNKNOWN,
                "the Host is none of this gateway's",
                remedy="Use 127.0.0.1 or localhost, or name the host in PENSTOCK_GATEWAY_HOSTS.",
            )


def require_guarded(listen: str, *, has_keys: bool) -> None:
    """See that a gateway that others can reach wants keys.

    Raises:
        InvalidInputError: `CONFIG_INVALID`, off loopback without them.
    """
    if not has_keys and not is_loopback(split_address(listen)[0]):
        raise InvalidInputError(
            Code.CONFIG_INVALID,
            f"PENSTOCK_GATEWAY_LISTEN is {listen}, which others can reach, and API keys are not set up",
            remedy="Set PENSTOCK_API_KEY_SECRET and make a key (penstock keys create), or listen on 127.0.0.1.",
        )


def split_address(text: str) -> tuple[str, int]:
    """Host and port of `host:port`.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where the port is none.
    """
    host, _, port = text.rpartition(":")
    if int(port) > 65_535:
        raise InvalidInputError(Code.CONFIG_INVALID, f"{port} is no port")
    return host.strip("[]"), int(port)


def is_loopback(address: str) -> bool:
    """Whether an address or `localhost` leads to this machine alone."""
    if address == "localhost":
        return True
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def place_of(request: Request) -> str:
    """What counts as one address: an IPv4 one, or the /64 of an IPv6 one, since a host has all of that."""
    address = request.client.host if request.client is not None else ""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def _host_of(request: Request) -> str:
    host = request.headers.get("host", "").strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] or host if host.count(":") == 1 else host
