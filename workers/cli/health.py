"""`penstock health`."""

import click

from penstock.workers.cli.environment import worker_settings
from penstock.workers.cli.output import emit, json_option
from penstock.workers.health import Check, check_all, is_healthy


@click.command(epilog="Example: penstock health --json")
@json_option
def health(as_json: bool) -> int:
    """Look at the deployment once; exit code 1 where something is wrong."""
    checks = check_all(worker_settings())
    healthy = is_healthy(checks)
    value = {"healthy": healthy, "checks": [check.as_dict() for check in checks]}
    emit(value, as_json, lambda: "\n".join(_tell(check) for check in checks))
    return 0 if healthy else 1


def _tell(check: Check) -> str:
    line = f"{'ok  ' if check.healthy else 'FAIL'}  {check.name}: {check.told} ({check.seconds * 1000:.0f} ms)"
    return line if check.code is None else f"{line}\n      {check.code}: {check.remedy}"
