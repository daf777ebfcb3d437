"""What dashboards are made of, and their JSON as Grafana reads it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

#: Of Grafana's dashboard model; 39 is read by Grafana 10 and later.
_SCHEMA_VERSION = 39
_COLUMNS = 24
_METRIC = re.compile(r"\b(penstock[a-z0-9_:]*|ALERTS)({?)")
#: Targets in Kubernetes have a namespace; those elsewhere have none, and are all.
_NAMESPACE = 'namespace=~"$namespace"'
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


class Shape(StrEnum):
    """How a panel shows its figures."""

    LINES = "timeseries"
    NUMBER = "stat"
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class Query:
    """One expression.

    Attributes:
        legend: of its series; `{{label}}` stands for a label's value.
        may_be_empty: it has figures only where something is wrong, or in use.
    """

    expression: str
    legend: str = ""
    may_be_empty: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture.

    Attributes:
        told: what it means, in the words of who looks at it.
        unit: Grafana's name of it (`s`, `percentunit`, `bytes`, `ops`, `short`).
        warns_at, alarms_at: values from which it is yellow and red.
        width: in columns of 24.
    """

    title: str
    told: str
    queries: Sequence[Query]
    unit: str = "short"
    shape: Shape = Shape.LINES
    warns_at: float | None = None
    alarms_at: float | None = None
    width: int = 8
    height: int = 7


def number(
    title: str,
    told: str,
    query: Query,
    unit: str = "short",
    *,
    warns_at: float | None = None,
    alarms_at: float | None = None,
) -> Panel:
    """A small panel with one figure."""
    return Panel(title, told, [query], unit, Shape.NUMBER, warns_at, alarms_at, width=4, height=4)


def p95(metric: str, by: str, legend: str, *, may_be_empty: bool = False) -> Query:
    """What one in twenty takes longer than."""
    inner = f"sum by (le, {by}) (rate({metric}_bucket[$__rate_interval]))"
    return Query(f"histogram_quantile(0.95, {inner})", legend, may_be_empty)


def rate_of(metric: str, by: str, legend: str, *, where: str = "", may_be_empty: bool = False) -> Query:
    """How many a second, of a counter."""
    return Query(f"sum by ({by}) (rate({metric}{where}[$__rate_interval]))", legend, may_be_empty)


def share_of(part: str, whole: str, by: str, legend: str, *, may_be_empty: bool = False) -> Query:
    """Of what a counter counts, the part that another one, or the same with other labels, does."""
    above, below = (f"sum by ({by}) (rate({counter}[$__rate_interval]))" for counter in (part, whole))
    return Query(f"{above} / {below}", legend, may_be_empty)


@dataclass(frozen=True, slots=True)
class Row:
    """A heading, and the panels below it."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One page. `uid` is its address, and its file's name."""

    uid: str
    title: str
    told: str
    rows: Sequence[Row]

    def panels(self) -> Iterator[Panel]:
        """All of them."""
        for row in self.rows:
            yield from row.panels


def scoped(expression: str) -> str:
    """The expression of the deployment that is chosen above the page."""
    return _METRIC.sub(lambda found: f"{found[1]}{{{_NAMESPACE}{',' if found[2] else '}'}", expression)


def dashboard_json(dashboard: Dashboard) -> dict[str, Any]:
    """The page as Grafana imports it."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.told,
        "tags": ["penstock"],
        "schemaVersion": _SCHEMA_VERSION,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "utc",
        "graphTooltip": 1,
        "templating": {"list": [_SOURCES, _NAMESPACES]},
        "annotations": {"list": [_ALERTS]},
        "links": [
            {"title": "Penstock", "type": "dashboards", "tags": ["penstock"], "asDropdown": True, "keepTime": True}
        ],
        "panels": list(_placed(dashboard.rows)),
    }


_SOURCES = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Source"}
_NAMESPACES = {
    "name": "namespace",
    "label": "Deployment",
    "type": "query",
    "datasource": _SOURCE,
    "query": "label_values(penstock_redis_up, namespace)",
    "refresh": 2,
    "includeAll": True,
    "allValue": ".*",
    "current": {"text": "All", "value": "$__all"},
}
#: Where alerts began to fire.
_ALERTS = {
    "name": "Alerts",
    "datasource": _SOURCE,
    "enable": True,
    "iconColor": "red",
    "expr": scoped('ALERTS{alertname=~"Penstock.*", alertstate="firing"}'),
    "titleFormat": "{{alertname}}",
    "step": "60s",
}


def _placed(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for row in rows:
        place = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
        number, top, left, tallest = number + 1, top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > _COLUMNS:
                top, left, tallest = top + tallest, 0, 0
            yield _panel(panel, number, {"x": left, "y": top, "w": panel.width, "h": panel.height})
            number, left, tallest = number + 1, left + panel.width, max(tallest, panel.height)
        top += tallest


def _panel(panel: Panel, number: int, place: Mapping[str, int]) -> dict[str, Any]:
    at_once = panel.shape is not Shape.LINES
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": _SOURCE,
            "expr": scoped(query.expression),
            "legendFormat": query.legend or "__auto",
            "instant": at_once,
            "range": not at_once,
            "format": "table" if panel.shape is Shape.TABLE else "time_series",
        }
        for index, query in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": str(panel.shape),
        "title": panel.title,
        "description": panel.told,
        "datasource": _SOURCE,
        "gridPos": dict(place),
        "targets": targets,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel.shape),
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    steps += [
        {"color": color, "value": value}
        for color, value in (("yellow", panel.warns_at), ("red", panel.alarms_at))
        if value is not None
    ]
    found: dict[str, Any] = {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.shape is Shape.LINES:
        drawn = "line" if len(steps) > 1 else "off"
        found["custom"] = {"lineWidth": 1, "fillOpacity": 8, "showPoints": "never", "thresholdsStyle": {"mode": drawn}}
    return found


def _options(shape: Shape) -> dict[str, Any]:
    if shape is Shape.NUMBER:
        reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return {"reduceOptions": reduced, "colorMode": "background", "graphMode": "none", "textMode": "auto"}
    if shape is Shape.TABLE:
        return {"showHeader": True}
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
