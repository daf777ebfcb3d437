"""Figures as several sidecars tell them: the parts that cases are made of."""

#: Labels of what one sidecar tells.
AT = {"instance": "pod-1:9192", "job": "penstock"}
POD = 'instance="pod-1:9192",job="penstock"'
OTHER = 'instance="pod-2:9192",job="penstock"'


def both(metric: str, values: str, *, labels: str = "") -> dict[str, str]:
    """What two sidecars tell alike of a shared server."""
    return {f"{metric}{{{pod}{',' if labels else ''}{labels}}}": values for pod in (POD, OTHER)}


def ends(outcome: str, values: str, pod: str = POD) -> dict[str, str]:
    return {f'penstock_jobs_finished_total{{{pod},queue="posts",kind="a.b",outcome="{outcome}"}}': values}


def answers(status: int, values: str) -> dict[str, str]:
    return {f'penstock_http_requests_total{{{POD},app="gateway",method="GET",route="/x",status="{status}"}}': values}


POSTS = {"queue": "posts"}
