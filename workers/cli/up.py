"""`penstock up`: everything on this machine."""

import os

import click

from penstock.migrations.runner import Migrator
from penstock.workers.cli.demonstration import demonstrate
from penstock.workers.cli.environment import home_path
from penstock.workers.embedded.home import Home
from penstock.workers.embedded.up import run_up


@click.command(epilog="Example: PENSTOCK_HOME=/var/lib/penstock penstock up")
@click.option("--demo", is_flag=True, help="Store 10,000 real wildlife strike reports, and say what to look at.")
def up(demo: bool) -> int:
    """Run every process on this machine until Ctrl-C.

    Starts PostgreSQL and Valkey too, with their data under PENSTOCK_HOME (default ~/.penstock), where DATABASE_URL
    and REDIS_URL name no servers.
    """
    return run_up(
        Home(home_path()),
        # One person reads all processes here; where programs read, JSON stays the default.
        environment={"PENSTOCK_LOG_FORMAT": "text", **os.environ},
        migrate=lambda url: Migrator(url).up(),
        announce=lambda line: click.echo(line, err=True),
        on_ready=demonstrate if demo else None,
    )
