"""The list of checks, and their run."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from urllib.parse import urlsplit

from penstock.producers import Producer
from penstock.producers.http_client import HttpProducer
from penstock.workers.verify.address_checks import check_address, check_database, named_addresses, named_databases
from penstock.workers.verify.backup_checks import check_backups
from penstock.workers.verify.clock_checks import check_postgresql_clock, check_redis_clock
from penstock.workers.verify.deployment_checks import check_deployment
from penstock.workers.verify.http_checks import (
    check_gateway,
    check_gateway_access,
    check_metrics,
    check_sidecar,
    check_sidecar_access,
)
from penstock.workers.verify.key_checks import check_api_keys, check_token_keys
from penstock.workers.verify.places import stays_here
from penstock.workers.verify.postgresql_checks import (
    check_migrations,
    check_partitions,
    check_postgresql_encryption,
)
from penstock.workers.verify.probe import TENANT, Probe
from penstock.workers.verify.redis_checks import check_redis_encryption, check_redis_safety
from penstock.workers.verify.result import Result, Verification
from penstock.workers.verify.role_checks import check_role
from penstock.workers.verify.running import Check, run_checks
from penstock.workers.verify.settings_checks import check_settings
from penstock.workers.verify.smoke import Direct, ThroughGateway, check_smoke
from penstock.workers.verify.target import Target

_Look = Callable[[Target], Iterable[Result]]
_AT_SITE = Callable[[Target, str], Iterable[Result]]
#: Each by the name that it has where it does not come to a result.
_ALWAYS: tuple[tuple[str, _Look], ...] = (
    ("settings", check_settings),
    ("deployment", check_deployment),
    ("postgresql_tls", check_postgresql_encryption),
    ("role", check_role),
    ("migrations", check_migrations),
    ("partitions", check_partitions),
    ("redis_safety", check_redis_safety),
    ("redis_tls", check_redis_encryption),
    ("clock_postgresql", check_postgresql_clock),
    ("clock_redis", check_redis_clock),
    ("token_keys", check_token_keys),
    ("api_keys", check_api_keys),
    ("backups", check_backups),
)
_OF_SIDECAR: tuple[tuple[str, _AT_SITE], ...] = (
    ("sidecar", check_sidecar),
    ("sidecar_metrics", check_metrics),
    ("sidecar_access", check_sidecar_access),
)
_OF_GATEWAY: tuple[tuple[str, _AT_SITE], ...] = (("gateway", check_gateway), ("gateway_access", check_gateway_access))
#: Beyond the time for the batch: sending it, counting its rows, removing them.
_AROUND_SMOKE = timedelta(seconds=20)


def verify(target: Target, limit: timedelta, smoke: timedelta | None = None) -> Verification:
    """Look at everything at once.

    Args:
        target: the deployment.
        limit: for all together.
        smoke: how long a real batch may take until it is stored; None to send none.
    """
    return run_checks([*_looks(target), *_asks(target), *_smokes(target, smoke)], limit)


def _looks(target: Target) -> Iterator[Check]:
    for name, look in _ALWAYS:
        yield Check(name, partial(look, target), target.limit)
    for name, url in named_databases(target):
        yield Check(f"reach_{name.lower()}", partial(check_database, target, name, url), target.limit)
    for name, url in named_addresses(target):
        yield Check(f"reach_{name.lower()}", partial(check_address, target, name, url), target.limit)


def _asks(target: Target) -> Iterator[Check]:
    for url, option, checks in ((target.sidecar, "--sidecar", _OF_SIDECAR), (target.gateway, "--gateway", _OF_GATEWAY)):
        for name, look in checks:
            ask = partial(_not_named, name, option) if url is None else partial(look, target, url)
            yield Check(name, ask, target.limit)


def _not_named(name: str, option: str) -> Iterable[Result]:
    return [Result.skipped(name, f"its address is not given ({option} URL)")]


def _smokes(target: Target, smoke: timedelta | None) -> Iterator[Check]:
    if smoke is None:
        yield Check("smoke", lambda: [Result.skipped("smoke", "not asked for (--smoke)")], target.limit)
        return
    yield Check("smoke", partial(_smoke, target, smoke), smoke + _AROUND_SMOKE)


def _smoke(target: Target, limit: timedelta) -> Iterator[Result]:
    with ExitStack() as stack:
        if _takes_probes(target):
            key = None if target.api_key is None else target.api_key.get_secret_value()
            asking = HttpProducer(str(target.gateway), api_key=key, timeout=target.limit, retry_for=limit / 4)
            yield from check_smoke(target, limit, ThroughGateway(stack.enter_context(asking)), Probe.begin())
            return
        direct = stack.enter_context(Producer.from_settings(target.settings, TENANT))
        yield from check_smoke(target, limit, Direct(target, direct), Probe.begin())


def _takes_probes(target: Target) -> bool:
    """Whether the batch can go through the gateway: there is a key, or it is on this machine and may want none."""
    return target.gateway is not None and (
        target.api_key is not None or stays_here(urlsplit(target.gateway).hostname or "")
    )
