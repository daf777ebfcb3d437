"""Requests that fail, and the objective that is missed: in minutes."""

from tests.deploy.monitoring.case_figures import POD, answers, ends
from tests.deploy.monitoring.promtool_kit import Case, Stands, grows, histogram

_OF_REQUESTS = (
    Case(
        "PenstockRequestsFail",
        answers(200, grows((97, 40))) | answers(503, grows((0, 6), (3, 14), (0, 20))),
        (6, 18, 30),
        (Stands("warning", "3%", {"app": "gateway"}),),
    ),
    Case(
        "PenstockRequestsFail",
        answers(200, grows((90, 40))) | answers(500, grows((0, 6), (10, 14), (0, 20))),
        (6, 18, 30),
        (Stands("warning", "10%", {"app": "gateway"}), Stands("critical", "10%", {"app": "gateway"})),
    ),
    Case(
        "PenstockRequestsSlow",
        histogram(
            "penstock_http_request_duration_seconds",
            f'{POD},app="gateway",method="GET",route="/x"',
            (0.1, 6),
            (4, 20),
            (0.1, 20),
            buckets=(0.1, 2.5, 5),
        ),
        (10, 24, 40),
        (Stands("warning", "4.875s", {"app": "gateway"}),),
    ),
)

_JOBS = {"objective": "jobs"}
_REQUESTS = {"objective": "requests"}


def _missed(quiet: int, share: float, minutes: int) -> dict[str, str]:
    """Of 1,000 jobs a minute so many died for so long."""
    return ends("done", grows((1_000, quiet + minutes + 900))) | ends(
        "dead", grows((0, quiet), (1_000 * share, minutes), (0, 900))
    )


_OBJECTIVE = (
    Case(
        "PenstockObjectiveMissed",
        _missed(60, 0.1, 30),
        (60, 75, 600),
        (
            Stands("critical", "2.439%", _JOBS, "1h"),
            Stands("critical", "1.961%", _JOBS, "6h"),
            Stands("warning", "1.961%", _JOBS, "1d"),
            Stands("warning", "1.961%", _JOBS, "3d"),
        ),
    ),
    # Too little for those that wake somebody.
    Case(
        "PenstockObjectiveMissed", _missed(60, 0.002, 120), (60, 180, 600), (Stands("warning", "0.1332%", _JOBS, "3d"),)
    ),
    Case(
        "PenstockObjectiveMissed",
        answers(200, grows((999, 60), (995, 120), (1_000, 900))) | answers(503, grows((0, 60), (5, 120), (0, 900))),
        (60, 180, 600),
        (Stands("warning", "0.3334%", _REQUESTS, "1d"), Stands("warning", "0.3334%", _REQUESTS, "3d")),
    ),
)

CASES = (*_OF_REQUESTS, *_OBJECTIVE)
