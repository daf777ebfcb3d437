"""Which addresses media may have: https, and no way into a private network. No name is looked up here.

Who fetches an address must look at what its name resolves to as well: `workers/platforms/media.py` does.
"""

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

#: Names that never belong to a public host (RFC 6761, RFC 6762, RFC 8375, and what private networks use).
PRIVATE_SUFFIXES = (
    "localhost",
    "local",
    "internal",
    "intranet",
    "lan",
    "home.arpa",
    "test",
    "example",
    "invalid",
    "onion",
)
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_PRINTABLE_ASCII = re.compile(r"[!-~]+")

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
#: Networks of IPv6 whose addresses hold one of IPv4: NAT64 (RFC 6052) and 6to4 (RFC 3056).
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def hosts_named(text: str) -> frozenset[str]:
    """The hosts of a setting that parts them by commas."""
    return frozenset(host for part in text.split(",") if (host := part.strip().lower()))


def address_fault(url: str, private_hosts: Collection[str] = ()) -> str | None:
    """Why media can't be fetched from `url`, in words; None where it may be.

    `private_hosts` may be private and without TLS: an operator names them for trials.
    """
    if not _PRINTABLE_ASCII.fullmatch(url) or "\\" in url:
        return "an address has plain ASCII characters only, and no spaces"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "the address can't be read"
    if host is None or parts.username is not None or parts.password is not None:
        return "an address names a host, and neither user nor password"
    if host in private_hosts and parts.scheme in {"http", "https"}:
        return None
    return _scheme_fault(parts, port) or host_fault(host)


def _scheme_fault(parts: SplitResult, port: int | None) -> str | None:
    if parts.scheme != "https":
        return "an address begins with https://"
    return None if port in {None, 443} else "an address has no port of its own"


def host_fault(host: str) -> str | None:
    """Why a host is none that the public reaches, by its name alone."""
    literal = _literal(host)
    if literal is not None:
        return None if is_public(literal) else "the address leads into a private network"
    labels = host.rstrip(".").split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        return "the host's name can't be read"
    # Resolvers read 127.1, 0x7f000001 and 2130706433 as addresses too.
    if labels[-1][0].isdigit():
        return "a host is a name, or an IP address in its usual form"
    if len(labels) < 2 or any(f".{host.rstrip('.').lower()}".endswith(f".{suffix}") for suffix in PRIVATE_SUFFIXES):
        return "the host's name is a private one"
    return None


def _literal(host: str) -> IpAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_public(address: IpAddress) -> bool:
    """Whether an IP address is one that the whole internet reaches, looking into those that hold another one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast
