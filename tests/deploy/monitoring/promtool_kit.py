"""What promtool is given: figures minute by minute, and the alerts that must stand at an instant."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[3] / "deploy" / "monitoring"
RULES = FOLDER / "alerts.yml"

_VALUE = re.compile(r"{{ \$value[^}]*}}")
_LABEL = re.compile(r"{{ \$labels\.(\w+) }}")


def flat(*parts: tuple[float, int]) -> str:
    """A gauge: each value for so many minutes."""
    return " ".join(f"{value:g}" for value, minutes in parts for _ in range(minutes))


def grows(*parts: tuple[float, int]) -> str:
    """A counter that begins at 0: grows by so much a minute, for so many minutes."""
    total, points = 0.0, ["0"]
    for step, minutes in parts:
        for _ in range(minutes):
            total += step
            points.append(f"{total:g}")
    return " ".join(points)


def histogram(name: str, labels: str, *parts: tuple[float, int], buckets: Sequence[float]) -> dict[str, str]:
    """Twelve observations a minute of each value, for so many minutes."""
    found = {}
    for bound in (*buckets, float("inf")):
        told = "+Inf" if bound == float("inf") else f"{bound:g}"
        found[f'{name}_bucket{{{labels},le="{told}"}}'] = grows(*((12.0 * (value <= bound), n) for value, n in parts))
    return found


@dataclass(frozen=True, slots=True)
class Stands:
    """An alert that must stand.

    Attributes:
        severity: of the rule; several rules may share a name.
        value: as the description tells it.
        labels: that its figures bring.
        window: of an alert on the objective.
    """

    severity: str
    value: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    window: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One fault and its end.

    Attributes:
        at: minutes from the beginning at which nothing stands yet, at which all of `stands` does, and nothing any more.
    """

    alert: str
    series: Mapping[str, str]
    at: tuple[int, int, int]
    stands: tuple[Stands, ...]


def rules() -> list[dict[str, Any]]:
    """All alerting rules, as they are written."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def rule_of(alert: str, stands: Stands) -> dict[str, Any]:
    """The rule that makes it stand."""
    wanted = (alert, stands.severity, stands.window)
    (found,) = (one for one in rules() if identity(one) == wanted)
    return found


def identity(rule: Mapping[str, Any]) -> tuple[str, str, str]:
    """Name, severity and window."""
    return rule["alert"], rule["labels"]["severity"], rule["labels"].get("window", "")


def promtool_test(case: Case, rules_file: Path = RULES) -> dict[str, Any]:
    """What `promtool test rules` reads of a case."""
    expected = [_expected(case.alert, one) for one in case.stands]
    moments = zip(case.at, ([], expected, []), strict=True)
    return {
        "rule_files": [str(rules_file)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "name": case.alert,
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                "alert_rule_test": [
                    {"eval_time": f"{minute}m", "alertname": case.alert, "exp_alerts": alerts}
                    for minute, alerts in moments
                ],
            }
        ],
    }


def _expected(alert: str, stands: Stands) -> dict[str, Any]:
    rule = rule_of(alert, stands)

    def told(text: str) -> str:
        return _VALUE.sub(stands.value, _LABEL.sub(lambda found: stands.labels[found[1]], text))

    texts = {name: told(text) for name, text in rule["annotations"].items()}
    return {"exp_labels": {**rule["labels"], **stands.labels}, "exp_annotations": texts}
