"""What deploy/compose keeps to, and that Debian's docker-compose takes it."""

import base64
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from penstock.producers.gateway.keys import KeySecrets
from penstock.producers.gateway.settings import GatewaySettings
from penstock.workers.accounts.token_keys import TokenKeys
from penstock.workers.cli.root import root
from penstock.workers.settings import WorkerSettings
from penstock.workers.sidecar.access.credentials import parse_credentials
from penstock.workers.sidecar.access.operator import Role
from tests.debian import require_program
from tests.deploy.composed import COMPOSE, compose_file, make_secrets

FILE = compose_file()
SERVICES = FILE["services"]
PENSTOCK = {"release", "gateway", "worker", "scheduler", "sidecar"}
MONITORING = COMPOSE.parent / "monitoring"


def test_docker_compose_takes_it(tmp_path: Path) -> None:
    copy = tmp_path / "compose.yaml"
    shutil.copy(COMPOSE / "compose.yaml", copy)
    done = configured(copy)
    assert done.returncode == 0, done.stderr
    # Nothing is left open, and nothing is a mere warning.
    assert done.stderr == ""
    assert set(yaml.safe_load(done.stdout)["services"]) == set(SERVICES)
    copy.write_text(copy.read_text().replace("    command: [worker]\n", "    commands: [worker]\n"))
    assert configured(copy).returncode != 0


def configured(file: Path) -> "subprocess.CompletedProcess[str]":
    program = require_program("docker-compose", "docker-compose")
    command = [program, "--file", file, "config"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_all_that_a_deployment_wants_is_there() -> None:
    assert set(SERVICES) == PENSTOCK | {"postgres", "redis", "prometheus", "alertmanager", "grafana"}
    assert SERVICES["postgres"]["image"].startswith("postgres:18")
    assert SERVICES["redis"]["image"].startswith("redis:7")


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_kept_small_and_harmless(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert service["logging"]["options"].keys() >= {"max-size", "max-file"}
    # Penstock's image says by itself who it runs as.
    assert name in PENSTOCK or re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_named_by_a_release(name: str) -> None:
    assert re.fullmatch(r"[a-z/-]+:v?\d[\w.-]*", SERVICES[name]["image"])


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_on_loopback_alone(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"release"}))
def test_every_service_says_whether_it_is_well(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert check["test"][1] not in {"sh", "bash"}
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)


def test_the_schema_comes_before_all_that_needs_it() -> None:
    assert SERVICES["release"]["command"] == ["migrate", "up"]
    assert SERVICES["release"]["depends_on"]["postgres"] == {"condition": "service_healthy"}
    for name in PENSTOCK - {"release"}:
        assert SERVICES[name]["depends_on"]["release"] == {"condition": "service_completed_successfully"}


@pytest.mark.parametrize("name", sorted(PENSTOCK))
def test_every_variable_is_a_setting_and_every_command_parses(name: str) -> None:
    known = {str(field.alias) for model in (WorkerSettings, GatewaySettings) for field in model.model_fields.values()}
    variables = SERVICES[name]["environment"]
    assert {variable.removesuffix("_FILE") for variable in variables} <= known
    assert CliRunner().invoke(root, [*SERVICES[name]["command"], "--help"]).exit_code == 0
    # Each has the secrets that its variables name, and no other.
    named = {value.removeprefix("/run/secrets/") for variable, value in variables.items() if variable.endswith("_FILE")}
    assert named == set(SERVICES[name]["secrets"])


def test_only_the_release_may_change_the_schema() -> None:
    holders = {name for name, one in SERVICES.items() if "migration_database_url" in one.get("secrets", [])}
    assert holders == {"release"}


def test_the_servers_are_reached_by_penstock_alone() -> None:
    networks = FILE["networks"]
    assert networks["servers"] == networks["watching"] == {"internal": True}
    for server in ("postgres", "redis"):
        assert SERVICES[server]["networks"] == ["servers"]
        assert "ports" not in SERVICES[server]
    assert {name for name, one in SERVICES.items() if "servers" in one["networks"]} == PENSTOCK | {"postgres", "redis"}
    # What has a port that others can reach, or asks others, needs a network that leads there.
    for name, service in SERVICES.items():
        assert "outside" in service["networks"] or "ports" not in service, name


def test_who_stops_is_given_its_time() -> None:
    worker = SERVICES["worker"]
    grace = int(worker["stop_grace_period"].removesuffix("s"))
    assert grace > int(worker["environment"]["PENSTOCK_SHUTDOWN_SECONDS"]) + 5


def test_every_file_that_is_mounted_is_there() -> None:
    mounted = [volume.split(":") for one in SERVICES.values() for volume in one.get("volumes", [])]
    files = [parts for parts in mounted if parts[0].startswith(".")]
    assert len(files) > 5
    for source, _, mode in files:
        assert (COMPOSE / source).exists(), source
        assert mode == "ro"
    assert {parts[0] for parts in mounted if not parts[0].startswith(".")} == set(FILE["volumes"])


def test_monitoring_asks_services_that_it_reaches() -> None:
    prometheus = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    targets = [target for job in prometheus["scrape_configs"] for one in job.get("static_configs", [])
               for target in one["targets"] if not target.startswith("localhost:")]  # fmt: skip
    assert "sidecar:9192" in targets
    for target in targets:
        name = target.partition(":")[0]
        assert set(SERVICES[name]["networks"]) & set(SERVICES["prometheus"]["networks"]), target
    for path in (MONITORING / "grafana" / "provisioning").rglob("*.yml"):
        for source in yaml.safe_load(path.read_text()).get("datasources", []):
            assert source["url"] == "http://prometheus:9090"
    assert SERVICES["sidecar"]["environment"]["PENSTOCK_SIDECAR_PROBE_LISTEN"] == "0.0.0.0:9192"


def test_secrets_that_alertmanager_reads_are_given_to_it() -> None:
    named = set(re.findall(r"/run/secrets/(\w+)", (MONITORING / "alertmanager.yml").read_text()))
    assert named == set(SERVICES["alertmanager"]["secrets"])


def test_every_secret_is_made_and_is_what_its_reader_takes(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    token = make_secrets().make_all(folder)
    made = {path.name: path.read_text() for path in folder.iterdir()}
    assert set(made) == set(FILE["secrets"])
    assert {f"./secrets/{name}" for name in made} == {one["file"] for one in FILE["secrets"].values()}
    for one in SERVICES.values():
        assert set(one.get("secrets", [])) <= set(made)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o444}
    # What is wrong with them would show when processes start; here sooner.
    KeySecrets.from_setting(made["api_key_secret"])
    TokenKeys.from_setting(made["token_keys"])
    assert len(base64.urlsafe_b64decode(made["token_keys"].partition(":")[2])) == 32
    (credential,) = parse_credentials(made["sidecar_credentials"]).values()
    assert (credential.name, credential.role) == ("admin", Role.ADMIN)
    urls = {"DATABASE_URL": made["database_url"], "REDIS_URL": made["redis_url"]}
    WorkerSettings.from_environment(urls | {"PENSTOCK_SIDECAR_SECRET": made["sidecar_secret"]})
    assert made["migration_database_url"].startswith("postgresql://postgres:")
    assert made["app_password"] in made["database_url"]
    assert made["app_password"] not in made["migration_database_url"]
    # A token is printed once, and stands nowhere.
    assert token is not None
    assert all(token not in text for text in made.values())


def test_making_them_again_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    make_secrets().make_all(folder)
    before = {path.name: path.read_text() for path in folder.iterdir()}
    assert make_secrets().make_all(folder) is None
    assert {path.name: path.read_text() for path in folder.iterdir()} == before


def test_secrets_are_not_for_the_repository() -> None:
    done = subprocess.run(
        ["git", "check-ignore", "deploy/compose/secrets/app_password", "deploy/compose/.env"],
        cwd=COMPOSE.parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == 2
