"""`penstock scheduler`."""

import os

import click

from penstock.workers.cli.environment import worker_settings
from penstock.workers.scheduler.process import run_scheduler
from penstock.workers.telemetry.exporting import exporting_traces
from penstock.workers.telemetry.logging import set_up_logging
from penstock.workers.telemetry.sentry import telling_sentry


@click.command(epilog="Example: PENSTOCK_OUTBOX_SWEEP_SECONDS=60 penstock scheduler")
def scheduler() -> int:
    """Relay the outbox, record the audit and tick the queues, until SIGTERM.

    Any number may run at once.
    """
    settings = worker_settings()
    set_up_logging(settings.log_level, settings.log_format, share=settings.log_sample, process="scheduler")
    with (
        telling_sentry(settings.sentry_dsn, settings.environment, "scheduler"),
        exporting_traces(os.environ, "scheduler"),
    ):
        return run_scheduler(settings)
