"""`penstock up`: everything on this machine."""

import os
import shlex
import sys
from functools import partial

import click

from penstock.migrations.runner import Migrator
from penstock.workers.cli.demonstration import demonstrate
from penstock.workers.cli.demonstration_posts import require_no_accounts_of_ones_own
from penstock.workers.cli.environment import home_path
from penstock.workers.embedded import ports
from penstock.workers.embedded.home import Home
from penstock.workers.embedded.procfile import DEFAULT_PROCFILE
from penstock.workers.embedded.up import run_up
from penstock.workers.stand_in.server import environment_at

#: Of the platforms' stand-in; the next `up --demo` of a machine gets another one.
_STAND_IN_PORT = 9393


@click.command(epilog="Example: PENSTOCK_HOME=/var/lib/penstock penstock up")
@click.option(
    "--demo",
    is_flag=True,
    help="Store 10,000 real wildlife strike reports, publish a few posts at a stand-in, and say what to look at.",
)
def up(demo: bool) -> int:
    """Run every process on this machine until Ctrl-C.

    Starts PostgreSQL and Valkey too, with their data under PENSTOCK_HOME (default ~/.penstock), where DATABASE_URL
    and REDIS_URL name no servers.
    """
    url = f"http://{ports.LOOPBACK}:{_stand_in_port()}" if demo else ""
    return run_up(
        Home(home_path()),
        # One person reads all processes here; where programs read, JSON stays the default.
        environment={"PENSTOCK_LOG_FORMAT": "text", **os.environ, **(environment_at(url) if demo else {})},
        migrate=partial(_migrate, demo=demo),
        announce=lambda line: click.echo(line, err=True),
        on_ready=partial(demonstrate, stand_in_url=url) if demo else None,
        procfile=DEFAULT_PROCFILE + (_stand_in_line(url) if demo else ""),
    )


def _migrate(url: str, *, demo: bool) -> None:
    Migrator(url).up()
    if demo:
        require_no_accounts_of_ones_own(url)


def _stand_in_port() -> int:
    return _STAND_IN_PORT if ports.is_free(_STAND_IN_PORT) else ports.find_free()


def _stand_in_line(url: str) -> str:
    """The stand-in as a process of the Procfile; it says nothing, since its settings are nobody's to type."""
    port = url.rpartition(":")[2]
    return f"stand-in: {shlex.quote(sys.executable)} -m penstock.workers.stand_in {port} --quiet\n"
