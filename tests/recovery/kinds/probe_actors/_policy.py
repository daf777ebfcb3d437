"""How failures of probes are treated: several are the test's own doing, and nobody wants to wait for them."""

from datetime import timedelta

from penstock.workers.registry import Policy

POLICY = Policy(
    max_retries=5,
    backoff_base=timedelta(milliseconds=50),
    backoff_cap=timedelta(milliseconds=500),
    time_limit=timedelta(minutes=5),
)
