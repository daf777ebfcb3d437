"""Who is told: routes by amtool, and a real Alertmanager that notifies a server of the test in everybody's place."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from tests.debian import require_program
from tests.deploy.monitoring.promtool_kit import FOLDER, rules
from tests.deploy.monitoring.watching import Api, Receiver, alertmanager, receiving
from tests.system import wait_for

CONFIG = FOLDER / "alertmanager.yml"


def amtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    program = require_program("amtool", "prometheus-alertmanager")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_amtool_takes_the_configuration() -> None:
    done = amtool("check-config", str(CONFIG))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_critical_ones_wake_somebody_and_all_go_to_the_webhook(rule: dict[str, dict[str, str]]) -> None:
    wanted = {"critical": "on-call,webhook", "warning": "webhook"}[rule["labels"]["severity"]]
    labels = [f"{name}={value}" for name, value in rule["labels"].items()]
    done = amtool("config", "routes", "test", f"--config.file={CONFIG}", f"--verify.receivers={wanted}", *labels)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_secret_stands_in_the_configuration() -> None:
    """What is secret comes from files."""
    receivers = yaml.safe_load(CONFIG.read_text())["receivers"]
    (on_call,) = (one for one in receivers if one["name"] == "on-call")
    assert all("routing_key" not in one and one["routing_key_file"] for one in on_call["pagerduty_configs"])
    assert not re.search(r"(api_url|routing_key|credentials|password): ", CONFIG.read_text())


def test_what_a_rule_needs_has_an_alert_of_its_own() -> None:
    """Each word of `needs` is one that an inhibition looks for."""
    needed = {word for rule in rules() for word in rule["labels"].get("needs", "").split(",") if word}
    inhibited = {
        word
        for rule in yaml.safe_load(CONFIG.read_text())["inhibit_rules"]
        for matcher in rule["target_matchers"]
        for word in re.findall(r"needs =~ .*\?(\w+)\(", matcher)
    }
    assert needed == inhibited


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def manager(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with ExitStack() as stack:
        yield stack.enter_context(alertmanager(tmp_path_factory.mktemp("alerts") / "manager", receiver))


def tell(manager: Api, name: str, severity: str = "", *, ended: bool = False, **labels: str) -> None:
    """As Prometheus tells it: with the labels and annotations of its rule."""
    found = [one for one in rules() if one["alert"] == name and one["labels"]["severity"].startswith(severity)]
    rule = found[0]
    now = datetime.now(UTC)
    alert = {
        "labels": {"alertname": name, **rule["labels"], **labels},
        "annotations": rule["annotations"],
        "startsAt": (now - timedelta(minutes=1)).isoformat(),
        "endsAt": (now if ended else now + timedelta(minutes=5)).isoformat(),
    }
    manager.post("/api/v2/alerts", [alert])


def test_a_critical_alert_and_its_end_reach_everybody(manager: Api, receiver: Receiver) -> None:
    tell(manager, "PenstockPostgresqlDown")
    for path in ("webhook", "slack", "pagerduty"):
        wait_for(lambda path=path: bool(receiver.at(path)), f"{path} to be told")
    webhook, slack, pager = (receiver.at(path)[0] for path in ("webhook", "slack", "pagerduty"))
    assert webhook.authorization == "Bearer a-webhook-token"
    (alert,) = webhook.body["alerts"]
    assert (alert["status"], alert["annotations"]["summary"]) == ("firing", "PostgreSQL does not answer")
    (shown,) = slack.body["attachments"]
    assert (slack.body["channel"], shown["title"]) == ("#penstock", "PostgreSQL does not answer")
    assert shown["title_link"].endswith("docs/alerts.md#penstockpostgresqldown")
    assert "No sidecar reaches PostgreSQL" in shown["text"]
    assert (pager.body["event_action"], pager.body["routing_key"]) == ("trigger", "k" * 32)
    assert pager.body["payload"]["severity"] == "critical"
    assert pager.body["payload"]["custom_details"]["runbook"].endswith("#penstockpostgresqldown")

    tell(manager, "PenstockPostgresqlDown", ended=True)
    wait_for(lambda: receiver.told("PenstockPostgresqlDown", "resolved"), "the webhook to be told of the end")
    wait_for(lambda: receiver.at("slack")[-1].body["attachments"][0]["title"].startswith("Over: "), "Slack, too")
    wait_for(lambda: receiver.at("pagerduty")[-1].body["event_action"] == "resolve", "PagerDuty, too")


def test_a_warning_wakes_nobody(manager: Api, receiver: Receiver) -> None:
    tell(manager, "PenstockPostsHeld", platform="x")
    wait_for(lambda: receiver.told("PenstockPostsHeld", "firing"), "the webhook to be told")
    assert receiver.at("slack") == receiver.at("pagerduty") == []


def test_consequences_of_a_known_cause_are_not_told(manager: Api, receiver: Receiver) -> None:
    tell(manager, "PenstockRedisDown")
    tell(manager, "PenstockNoWorkers", queue="posts")
    for name, labels in (
        ("PenstockQueueStuck", {"queue": "posts"}),
        ("PenstockPostsLate", {}),
        ("PenstockReadingOld", {"reading": "redis"}),
    ):
        tell(manager, name, **labels)
    # Redis has nothing to do with it.
    tell(manager, "PenstockPostgresqlDown")
    tell(manager, "PenstockDiskLow", "warning", mountpoint="/", instance="a")
    tell(manager, "PenstockDiskLow", "critical", mountpoint="/", instance="a")
    tell(manager, "PenstockDiskLow", "warning", mountpoint="/data", instance="a")

    def shown() -> dict[tuple[str, str, str], str]:
        return {
            (one["labels"]["alertname"], one["labels"]["severity"], one["labels"].get("mountpoint", "")): one["status"][
                "state"
            ]
            for one in manager.get("/api/v2/alerts")
        }

    wait_for(lambda: "unprocessed" not in shown().values() and len(shown()) == 9, "all to be judged")
    quiet = {name for name, state in shown().items() if state == "suppressed"}
    assert quiet == {
        ("PenstockNoWorkers", "critical", ""),
        ("PenstockQueueStuck", "critical", ""),
        ("PenstockPostsLate", "warning", ""),
        ("PenstockReadingOld", "warning", ""),
        ("PenstockDiskLow", "warning", "/"),
    }
    wait_for(lambda: receiver.told("PenstockDiskLow", "firing"), "the webhook to be told")
    assert not receiver.told("PenstockQueueStuck", "firing")
