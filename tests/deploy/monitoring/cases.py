"""Each alert: the figures of a fault that makes it fire, and of its end."""

from tests.deploy.monitoring import (
    cases_of_jobs,
    cases_of_posts,
    cases_of_processes,
    cases_of_requests,
    cases_of_servers,
)

CASES = (
    *cases_of_servers.CASES,
    *cases_of_requests.CASES,
    *cases_of_jobs.CASES,
    *cases_of_posts.CASES,
    *cases_of_processes.CASES,
)
