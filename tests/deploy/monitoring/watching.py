"""A real Prometheus and a real Alertmanager with the files of deploy/monitoring, made faster, and who is notified."""

import json
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from tests.debian import require_program
from tests.deploy.monitoring.promtool_kit import FOLDER, RULES
from tests.recovery.servers import free_port
from tests.system import wait_for

#: Minutes become so much shorter.
FASTER = 20
#: No alert is held back for longer, nor for less.
LONGEST_FOR, SHORTEST_FOR = 5.0, 1.0
#: A window must hold some scrapes, which are a second apart.
SHORTEST_WINDOW = 10.0

_UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_SPAN = re.compile(r"(?<=\[|\s)(\d+)([smhd])(?=\]|\s|\)|$)")
#: What is a time itself, and the number of seconds beyond which it is too long.
_TOO_LONG = re.compile(r"(_(?:age|overdue|late)_seconds\)? > )(\d+)")


@dataclass(frozen=True, slots=True)
class Notice:
    """A request that came in, and when, by the monotonic clock."""

    path: str
    authorization: str
    body: Any
    at: float


@dataclass(slots=True)
class Receiver:
    """Takes what Alertmanager sends to the webhook, to Slack and to PagerDuty, each at a path of its own."""

    port: int = 0
    notices: list[Notice] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def told(self, alert: str, status: str, since: float = 0.0) -> bool:
        """Whether the webhook was told of an alert in that state, since a moment of the monotonic clock."""
        return any(
            one["labels"]["alertname"] == alert and one["status"] == status
            for notice in self.at("webhook")
            if notice.at >= since
            for one in notice.body["alerts"]
        )

    def at(self, path: str) -> list[Notice]:
        """What came to a path, in order."""
        return [notice for notice in list(self.notices) if notice.path == f"/{path}"]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that listens within the block."""
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            # PagerDuty's answer; the others look at the status alone.
            self.send_response(202)
            self.end_headers()
            self.wfile.write(b'{"status": "success"}')
            secret = self.headers.get("Authorization", "")
            found.notices.append(Notice(self.path, secret, body, time.monotonic()))

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


class Api:
    """What a program on this machine answers as JSON."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.address = f"127.0.0.1:{port}"

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=10) as answer:
            return json.loads(answer.read())

    def post(self, path: str, body: object) -> None:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://{self.address}{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class Prometheus(Api):
    """A running Prometheus."""

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Each series of an answer.

        Raises:
            ValueError: Prometheus can't make sense of the expression; the error quotes why.
        """
        try:
            found: list[dict[str, Any]] = self.get(f"/api/v1/query?query={quote(expression)}")["data"]["result"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{expression}: {error.read().decode()}") from None
        return found

    def firing(self) -> dict[str, list[dict[str, Any]]]:
        """The alerts that fire now, by name."""
        found: dict[str, list[dict[str, Any]]] = {}
        for alert in self.get("/api/v1/alerts")["data"]["alerts"]:
            if alert["state"] == "firing":
                found.setdefault(alert["labels"]["alertname"], []).append(alert)
        return found

    def scraped(self, job: str = "penstock") -> bool:
        """Whether each of its targets has been scraped."""
        targets = [one for one in self.get("/api/v1/targets")["data"]["activeTargets"] if one["scrapePool"] == job]
        return bool(targets) and all(one["health"] == "up" for one in targets)


@contextmanager
def prometheus(
    folder: Path, targets: Mapping[str, Sequence[str]], alertmanager: Api | None = None
) -> Iterator[Prometheus]:
    """Prometheus with the deployed rules, faster by `FASTER`; `targets` are addresses by the name of their job."""
    folder.mkdir(parents=True)
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"] = [
        {"job_name": name, "static_configs": [{"targets": list(told)}]} for name, told in targets.items()
    ]
    managers = [alertmanager.address] if alertmanager else []
    config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": managers}]}]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (folder / "alerts.yml").write_text(yaml.safe_dump(faster_rules()))
    found = Prometheus(free_port())
    options = [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={found.address}"]
    program = require_program("prometheus", "prometheus")
    with _running([program, f"--config.file={folder / 'prometheus.yml'}", *options], folder, found):
        yield found


@contextmanager
def alertmanager(folder: Path, receiver: Receiver) -> Iterator[Api]:
    """Alertmanager with the deployed configuration, faster, that notifies the receiver in the place of everybody."""
    folder.mkdir(parents=True)
    text = (FOLDER / "alertmanager.yml").read_text()
    for place, ours in (
        ("/run/secrets/", f"{folder}/"),
        ("templates/*.tmpl", f"{FOLDER}/templates/*.tmpl"),
        ("https://events.pagerduty.com/v2/enqueue", receiver.url("pagerduty")),
        ("http://alert-webhook:8090/", receiver.url("webhook")),
        ("group_wait: 30s", "group_wait: 1s"),
        ("group_interval: 5m", "group_interval: 1s"),
    ):
        assert text.count(place), f"the configuration has no {place}"
        text = text.replace(place, ours)
    for name, secret in (("slack_url", receiver.url("slack")), ("pagerduty_key", "k" * 32)):
        (folder / name).write_text(secret)
    (folder / "alert_webhook_token").write_text("a-webhook-token")
    (folder / "alertmanager.yml").write_text(text)
    found = Api(free_port())
    options = [
        f"--web.listen-address={found.address}",
        f"--storage.path={folder / 'data'}",
        "--cluster.listen-address=",
    ]
    program = require_program("prometheus-alertmanager", "prometheus-alertmanager")
    with _running([program, f"--config.file={folder / 'alertmanager.yml'}", *options], folder, found):
        yield found


@contextmanager
def _running(command: list[str], folder: Path, api: Api) -> Iterator[None]:
    log = folder / "log"
    with ExitStack() as stack:
        process = subprocess.Popen(command, stdout=stack.enter_context(log.open("wb")), stderr=subprocess.STDOUT)
        stack.callback(process.wait, 30)
        stack.callback(process.terminate)

        def is_ready() -> bool:
            assert process.poll() is None, log.read_text()[-2_000:]
            return api.is_ready()

        wait_for(is_ready, command[0])
        yield


def faster_rules() -> dict[str, Any]:
    """The deployed rules with minutes made shorter: windows, how long a fault must last, times that are too long."""
    found: dict[str, Any] = yaml.safe_load(RULES.read_text())
    for group in found["groups"]:
        for rule in group["rules"]:
            rule["expr"] = faster(rule["expr"])
            if "for" in rule:
                seconds = min(LONGEST_FOR, max(SHORTEST_FOR, _seconds(rule["for"]) / FASTER))
                rule["for"] = f"{seconds:.0f}s"
    return found


def faster(expression: str) -> str:
    """An expression with its spans shortened."""

    def span(found: re.Match[str]) -> str:
        return f"{max(SHORTEST_WINDOW, _seconds(found[0]) / FASTER):.0f}s"

    def limit(found: re.Match[str]) -> str:
        return f"{found[1]}{max(3.0, float(found[2]) / FASTER):.0f}"

    return _TOO_LONG.sub(limit, _SPAN.sub(span, expression))


def _seconds(span: str) -> float:
    return float(span[:-1]) * _UNITS[span[-1]]
