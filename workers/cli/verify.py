"""`penstock verify`."""

from datetime import timedelta
from pathlib import Path

import click

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.accounts.secret import Secret
from penstock.workers.cli.environment import environment, worker_settings
from penstock.workers.cli.output import emit, json_option
from penstock.workers.verify.result import Outcome, Result, Verification
from penstock.workers.verify.target import Target
from penstock.workers.verify.verification import verify as look_at

_SOUND, _FAULTY, _NOT_LOOKED = 0, 1, 2
_MARKS = {Outcome.OK: "ok  ", Outcome.SKIPPED: "-   ", Outcome.WARN: "warn", Outcome.FAIL: "FAIL"}


def _url(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is None or (value.startswith(("http://", "https://")) and "@" not in value and value.isprintable()):
        return None if value is None else value.rstrip("/")
    raise InvalidInputError(Code.REQUEST_USAGE, "an address is http://HOST[:PORT] or https://…, without a login")


def _duration(_context: click.Context, _parameter: click.Parameter, value: float) -> timedelta:
    return timedelta(seconds=value)


def _api_key(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> Secret | None:
    if path is None:
        return None
    try:
        return Secret(path.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        told = f"{str(path)!r} can't be read: {type(error).__name__}"
        raise InvalidInputError(Code.REQUEST_FILE_NOT_FOUND, told) from None


_seconds = click.FloatRange(min=0.1, max=3_600)


@click.command(epilog="Example: penstock verify --gateway https://penstock.example.org --smoke")
@click.option("--gateway", callback=_url, help="Look at the gateway at this address, too.")
@click.option("--sidecar", callback=_url, help="Look at the sidecar at this address, too.")
@click.option("--smoke", is_flag=True, help="Send a real batch of the form penstock-probe and follow it to its rows.")
@click.option(
    "--api-key-file",
    "api_key",
    type=click.Path(path_type=Path),
    callback=_api_key,
    help="A file with an API key of the tenant penstock-probe: --smoke goes through the gateway then.",
)
@click.option("--smoke-seconds", "smoke_limit", type=_seconds, default=60, show_default=True, callback=_duration)
@click.option(
    "--check-seconds",
    "check_limit",
    type=_seconds,
    default=10,
    show_default=True,
    callback=_duration,
    help="What each check may take.",
)
@click.option(
    "--seconds", "limit", type=_seconds, default=120, show_default=True, callback=_duration, help="For all together."
)
@click.option(
    "--clock-seconds",
    "tolerance",
    type=click.FloatRange(min=0),
    default=1,
    show_default=True,
    callback=_duration,
    help="How far apart clocks may be.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 for a warning, too.")
@json_option
def verify(
    gateway: str | None,
    sidecar: str | None,
    smoke: bool,
    api_key: Secret | None,
    smoke_limit: timedelta,
    check_limit: timedelta,
    limit: timedelta,
    tolerance: timedelta,
    strict: bool,
    as_json: bool,
) -> int:
    """Look at a whole deployment, with the environment that its processes have.

    Exit code 0 where nothing failed, 1 where something did, 2 where the settings can't be read.
    """
    try:
        settings = worker_settings()
    except InvalidInputError as error:
        _emit(Verification([Result.of_error("settings", error)], 0.0), as_json)
        return _NOT_LOOKED
    target = Target(
        settings,
        environment(),
        gateway=gateway,
        sidecar=sidecar,
        api_key=api_key,
        limit=check_limit,
        clock_tolerance=tolerance,
    )
    found = look_at(target, limit, smoke_limit if smoke else None)
    _emit(found, as_json)
    worst_allowed = Outcome.SKIPPED if strict else Outcome.WARN
    return _FAULTY if found.outcome.weight > worst_allowed.weight else _SOUND


def _emit(found: Verification, as_json: bool) -> None:
    emit(found.as_dict(), as_json, lambda: _tell(found))


def _tell(found: Verification) -> str:
    width = max(len(result.name) for result in found.results)
    counts = ", ".join(f"{count} {outcome}" for outcome, count in found.counts.items() if count)
    lines = [line for result in found.results for line in _tell_result(result, width)]
    return "\n".join([*lines, f"{len(found.results)} checks in {found.seconds:.1f} s: {counts}"])


def _tell_result(result: Result, width: int) -> list[str]:
    code = "" if result.code is None else f"{result.code}: "
    lines = [f"{_MARKS[result.outcome]}  {result.name.ljust(width)}  {code}{result.told}"]
    if result.remedy and result.outcome in {Outcome.WARN, Outcome.FAIL}:
        lines.append(f"{' ' * (width + 8)}{result.remedy}")
    return lines
