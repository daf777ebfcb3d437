"""Writes Grafana's dashboards: `python -m deploy.monitoring.dashboards`. A test sees that they are as this writes them.

Gauges that every sidecar reads of the shared servers are the same in each: their `max`, never their `sum`.
"""

import json
from pathlib import Path

from deploy.monitoring.dashboard_jobs import JOBS
from deploy.monitoring.dashboard_overview import OVERVIEW
from deploy.monitoring.dashboard_posts import POSTS
from deploy.monitoring.dashboard_servers import SERVERS
from deploy.monitoring.panels import dashboard_json

FOLDER = Path(__file__).parent / "grafana" / "dashboards"
ALL = (OVERVIEW, JOBS, POSTS, SERVERS)


def files() -> dict[Path, str]:
    """Each generated file with its text."""
    return {FOLDER / f"{one.uid}.json": json.dumps(dashboard_json(one), indent=2) + "\n" for one in ALL}


def main() -> None:
    """Write every dashboard."""
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
