"""`penstock worker`."""

import os

import click

from penstock.workers.cli.environment import worker_settings
from penstock.workers.run import run_worker
from penstock.workers.telemetry.exporting import exporting_traces
from penstock.workers.telemetry.logging import set_up_logging
from penstock.workers.telemetry.sentry import telling_sentry


@click.command(epilog="Example: PENSTOCK_WORKER_THREADS=8 penstock worker")
def worker() -> int:
    """Take jobs from the queues and run them, until SIGTERM."""
    settings = worker_settings()
    set_up_logging(settings.log_level, settings.log_format, share=settings.log_sample, process="worker")
    with (
        telling_sentry(settings.sentry_dsn, settings.environment, "worker"),
        exporting_traces(os.environ, "worker"),
    ):
        return run_worker(settings)
