"""`penstock health`."""

import click

from penstock.workers.cli.environment import worker_settings
from penstock.workers.cli.output import emit, json_option
from penstock.workers.health.look import look_once
from penstock.workers.health.report import Check, HealthReport, Status

_MARKS = {Status.HEALTHY: "ok  ", Status.UNKNOWN: "?   ", Status.WARNING: "warn", Status.CRITICAL: "FAIL"}


@click.command(epilog="Example: penstock health --json")
@json_option
def health(as_json: bool) -> int:
    """Look at the deployment once; exit code 1 where it is CRITICAL."""
    report = look_once(worker_settings())
    emit(report.as_dict(), as_json, lambda: _tell(report))
    return 1 if report.status is Status.CRITICAL else 0


def _tell(report: HealthReport) -> str:
    return "\n".join([f"{report.status}: {report.sentence}", *(_tell_check(check) for check in report.checks)])


def _tell_check(check: Check) -> str:
    line = f"{_MARKS[check.status]}  {check.name}: {check.told} ({check.seconds * 1000:.0f} ms)"
    return line if check.code is None else f"{line}\n      {check.code}: {check.remedy}"
