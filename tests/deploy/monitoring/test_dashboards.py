"""Grafana's dashboards are as they are generated, and each of their queries finds figures of a real system."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from deploy.monitoring.dashboards import ALL, files
from deploy.monitoring.panels import scoped
from penstock.workers.telemetry.catalogue import metric_rows
from tests.debian import require_program
from tests.deploy.monitoring.promtool_kit import FOLDER, RULES, rules
from tests.deploy.monitoring.watched_system import WatchedSystem
from tests.deploy.monitoring.watching import Api, Prometheus, faster_rules, prometheus
from tests.recovery.servers import free_port
from tests.system import wait_for

QUERIES = [(one, panel, query) for one in ALL for panel in one.panels() for query in panel.queries]
#: Grafana's own, for a scrape each second.
RATE_INTERVAL = "10s"


def test_the_files_are_current() -> None:
    """`python -m deploy.monitoring.dashboards` writes them."""
    assert {path: path.read_text() for path in files()} == files()
    assert set((FOLDER / "grafana" / "dashboards").iterdir()) == set(files())


def test_panels_have_places_of_their_own() -> None:
    for text in files().values():
        panels = json.loads(text)["panels"]
        taken = [
            (column, line)
            for one in panels
            for column in range(one["gridPos"]["x"], one["gridPos"]["x"] + one["gridPos"]["w"])
            for line in range(one["gridPos"]["y"], one["gridPos"]["y"] + one["gridPos"]["h"])
        ]
        assert len(taken) == len(set(taken))
        assert max(column for column, _ in taken) < 24
        assert len({one["id"] for one in panels}) == len(panels)


def test_queries_are_of_the_deployment_that_is_chosen() -> None:
    chosen = 'namespace=~"$namespace"'
    assert scoped("max(penstock_redis_up)") == f"max(penstock_redis_up{{{chosen}}})"
    assert scoped('rate(penstock_x_total{a="b"}[5m])') == f'rate(penstock_x_total{{{chosen},a="b"}}[5m])'
    assert scoped("node_load1") == "node_load1"


def test_every_metric_that_is_named_is_one_of_ours() -> None:
    """In rules and dashboards; a histogram has three of its own."""
    ours = {row.split("`")[1] for row in metric_rows()}
    found = " ".join([query.expression for _, _, query in QUERIES] + [rule["expr"] for rule in rules()])
    named = {re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"\bpenstock_[a-z_]+", found)}
    assert named <= ours
    assert len(named) > 50


def test_grafana_is_told_where_the_dashboards_and_the_figures_are() -> None:
    provisioned = FOLDER / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioned / "datasources" / "penstock.yml").read_text())["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    (provider,) = yaml.safe_load((provisioned / "dashboards" / "penstock.yml").read_text())["providers"]
    assert provider["options"] == {"path": "/var/lib/grafana/dashboards"}


@contextmanager
def node_exporter(folder: Path) -> Iterator[str]:
    """Prometheus's own exporter of this machine's figures; its address."""
    program = require_program("prometheus-node-exporter", "prometheus-node-exporter")
    api = Api(free_port())
    with (folder / "node.log").open("wb") as log:
        process = subprocess.Popen([program, f"--web.listen-address={api.address}"], stdout=log, stderr=log)
    try:
        yield api.address
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus with figures of a system that works."""
    folder = tmp_path_factory.mktemp("watched")
    with ExitStack() as stack:
        system = stack.enter_context(WatchedSystem(folder))
        node = stack.enter_context(node_exporter(folder))
        targets = {"penstock": [system.sidecar], "node": [node]}
        found = stack.enter_context(prometheus(folder / "prometheus", targets))
        stack.enter_context(system.load())
        wait_for(lambda: found.scraped() and found.scraped("node"), "a scrape of each")
        wait_for(lambda: is_rated(found), "rates of jobs")
        yield found


def is_rated(watched: Prometheus) -> bool:
    """Whether the longest rates have their two points, and the rules their figures."""
    expressions = ("penstock:objective_errors:ratio_rate3d > -1", "rate(penstock_jobs_finished_total[10s]) > 0")
    return all(watched.query(one) for one in expressions)


def asked(expression: str) -> str:
    """As Grafana asks it, of all deployments."""
    return scoped(expression).replace("$__rate_interval", RATE_INTERVAL).replace("$namespace", ".*")


def test_every_query_is_understood_and_finds_what_must_be_there(watched: Prometheus) -> None:
    """At some time: a rate needs two scrapes within its window, which a machine that stands still has not."""
    wanted = {
        f"{dashboard.title}, {panel.title}: {query.expression}": asked(query.expression)
        for dashboard, panel, query in QUERIES
        if not query.may_be_empty
    }
    found: set[str] = set()

    def all_found() -> bool:
        found.update(name for name in wanted.keys() - found if watched.query(wanted[name]))
        return found == wanted.keys()

    with suppress(AssertionError):
        wait_for(all_found, "figures for each query")
    assert wanted.keys() - found == set()


def test_a_query_that_may_be_empty_is_understood(watched: Prometheus) -> None:
    for _, _, query in QUERIES:
        watched.query(asked(query.expression))


def test_legends_name_labels_that_are_there(watched: Prometheus) -> None:
    for _, panel, query in QUERIES:
        # A label that is empty with one series, as the table of a COMMIT, is missing there.
        labels = {label for series in watched.query(asked(query.expression)) for label in series["metric"]}
        assert not labels or set(re.findall(r"{{(\w+)}}", query.legend)) <= labels, panel.title


def test_a_query_that_makes_no_sense_or_names_nothing_is_found_out(watched: Prometheus) -> None:
    """The control."""
    assert watched.query("penstock_no_such_metric") == []
    with pytest.raises(ValueError, match="parse error"):
        watched.query("sum by (queue (penstock_queue_depth)")


def test_no_rule_fails_on_a_real_system(watched: Prometheus) -> None:
    """Such as one whose two sides don't match one to one."""
    groups = watched.get("/api/v1/rules")["data"]["groups"]
    found = [rule for group in groups for rule in group["rules"]]
    assert len(found) == sum(len(group["rules"]) for group in yaml.safe_load(RULES.read_text())["groups"])
    wait_for(
        lambda: all(
            rule["health"] != "unknown"
            for group in watched.get("/api/v1/rules")["data"]["groups"]
            for rule in group["rules"]
        ),
        "every rule to be evaluated",
    )
    groups = watched.get("/api/v1/rules")["data"]["groups"]
    assert [
        (rule["name"], rule.get("lastError")) for g in groups for rule in g["rules"] if rule["health"] != "ok"
    ] == []


def test_no_alert_fires_of_a_system_that_is_well(watched: Prometheus) -> None:
    ours = {name for name in watched.firing() if not name.startswith("PenstockMachine")} - {"PenstockDiskLow"}
    # The machine of the tests may be busy, and so may what runs on it.
    assert ours <= {"PenstockCpuHigh", "PenstockQueriesSlow", "PenstockJobsSlow", "PenstockRequestsSlow"}


def test_the_faster_rules_are_the_deployed_ones() -> None:
    """The live tests' copy differs in times alone."""
    slow = yaml.safe_load(RULES.read_text())["groups"]
    for before, after in zip(slow, faster_rules()["groups"], strict=True):
        for one, other in zip(before["rules"], after["rules"], strict=True):
            assert re.sub(r"\d+[smhd]?", "N", one["expr"]) == re.sub(r"\d+[smhd]?", "N", other["expr"])
            kept = set(one) - {"expr", "for"}
            assert {key: one[key] for key in kept} == {key: other[key] for key in kept}
    assert any("[15s]" in rule["expr"] for group in faster_rules()["groups"] for rule in group["rules"])
