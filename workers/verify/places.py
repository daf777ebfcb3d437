"""Whether an address leads elsewhere."""

from penstock.producers.gateway.access import is_loopback


def stays_here(host: str) -> bool:
    """Whether a host is this machine: loopback, a Unix socket, or none at all."""
    return not host or host.startswith(("/", "@")) or is_loopback(host)
