"""How many connections to PostgreSQL each process of a deployment opens at the most."""

from collections.abc import Mapping

#: Given its settings.
Settings = Mapping[str, str]


def of_process(kind: str, settings: Settings) -> int:
    """The most that a process of a kind opens; its settings name the sizes of its pool."""
    # What a pool has besides: a worker the listener for forms and the look whether an absent server is back; a gateway
    # the reader of API keys. A scheduler has a pool of 10 whatever the settings say, and the listener; a sidecar a pool
    # of 4, and the prober.
    match kind:
        case "worker":
            return int(settings["PENSTOCK_POOL_MAX"]) + 2
        case "gateway":
            return int(settings["PENSTOCK_GATEWAY_POOL_MAX"]) + 1
        case "scheduler":
            return 11
        case "sidecar":
            return 5
    raise AssertionError(f"how many connections does {kind} open?")
