"""What is asked of Redis besides the health of the queues: whether it keeps what it is given, and who could listen."""

from collections.abc import Iterator

from redis.connection import SSLConnection, UnixDomainSocketConnection

from penstock.producers.queue.address import parse_address
from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.safety import Weight, check_redis
from penstock.workers.verify.places import stays_here
from penstock.workers.verify.result import Outcome, Result
from penstock.workers.verify.target import Target

_OUTCOMES = {
    Weight.NOTE: Outcome.OK,
    Weight.WARNING: Outcome.WARN,
    Weight.UNSAFE: Outcome.FAIL,
    Weight.UNUSABLE: Outcome.FAIL,
}


def check_redis_safety(target: Target) -> Iterator[Result]:
    """A result for each hazard: version, eviction, append-only file, memory, replicas.

    Raises:
        PenstockError: of the family `QUEUE_`.
    """
    with target.redis() as client:
        hazards = check_redis(client)
    for hazard in hazards:
        yield Result(f"redis_{hazard.name}", _OUTCOMES[hazard.weight], hazard.told, hazard.remedy)
    if all(_OUTCOMES[hazard.weight] is not Outcome.FAIL for hazard in hazards):
        yield Result.ok("redis_safety", "it drops no job, and writes each to its append-only file")


def check_redis_encryption(target: Target) -> Iterator[Result]:
    """Whether what goes over a network is encrypted, and the server is who it should be.

    Raises:
        PenstockError: of the family `QUEUE_`; `CONFIG_INVALID`.
    """
    name, address = "redis_tls", parse_address(target.settings.redis_url)
    with target.redis() as client, redis_errors("connecting"):
        client.ping()
    host = str(address.options.get("host", "localhost"))
    secure = issubclass(address.connection_class, SSLConnection)
    if secure and address.options.get("ssl_cert_reqs", "required") != "required":
        remedy = "Leave ssl_cert_reqs out, and name the authority in ssl_ca_certs."
        yield Result.warn(name, "TLS is in use, and whose certificate it is is not looked at", remedy)
    elif secure:
        yield Result.ok(name, "TLS is in use, and the certificate is checked")
    elif issubclass(address.connection_class, UnixDomainSocketConnection):
        yield Result.ok(name, "it is reached by a socket of this machine")
    elif not address.sentinels and stays_here(host):
        yield Result.ok(name, "it is on this machine")
    else:
        remedy = "Use rediss:// where the network is not yours alone (docs/operations.md)."
        yield Result.warn(name, "no TLS: whoever listens on the network reads passwords and jobs", remedy)
