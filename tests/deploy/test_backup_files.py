"""What deploy/backup/ says of commands, settings, rights and secrets, held against the program and house rules."""

import configparser
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.workers.backup.settings import BackupSettings
from tests.system import BIN

FOLDER = Path(__file__).parents[2] / "deploy" / "backup"
SETTINGS = {str(field.alias) for field in BackupSettings.model_fields.values()}
#: What the image of PostgreSQL reads.
POSTGRES = {"POSTGRES_DB", "POSTGRES_PASSWORD_FILE", "PGDATA"}
UNITS = ("penstock-backup", "penstock-backup-verify")


def objects(kind: str) -> dict[str, Any]:
    documents = yaml.safe_load_all((FOLDER / "cronjob.yaml").read_text("utf-8"))
    return {found["metadata"]["name"]: found for found in documents if found["kind"] == kind}


def pods() -> dict[str, Any]:
    return {name: job["spec"]["jobTemplate"]["spec"]["template"] for name, job in objects("CronJob").items()}


def containers() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for pod in pods().values():
        yield from ((pod["spec"], one) for one in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]))


def takes(arguments: list[str]) -> bool:
    """Whether the program knows the command and each of its options."""
    words = [word for word in arguments if not word.startswith("-") and word != "daily"]
    told = subprocess.run([BIN / "penstock", *words, "--help"], capture_output=True, check=False, timeout=60)
    options = {word for word in arguments if word.startswith("--")}
    return told.returncode == 0 and options <= set(re.findall(r"--[a-z-]+", told.stdout.decode()))


def test_both_jobs_are_there_and_each_alone_in_time() -> None:
    jobs = objects("CronJob")
    assert {name: job["spec"]["schedule"] for name, job in jobs.items()} == {
        "penstock-backup": "0 2 * * *",
        "penstock-backup-verify": "0 5 * * 0",
    }
    for job in jobs.values():
        assert (job["spec"]["concurrencyPolicy"], job["spec"]["timeZone"]) == ("Forbid", "Etc/UTC")
        template = job["spec"]["jobTemplate"]["spec"]
        assert template["activeDeadlineSeconds"] > 0
        assert template["template"]["spec"]["restartPolicy"] == "Never"


def test_every_command_is_one() -> None:
    commands = [one["args"] for _, one in containers() if one["image"] == "penstock-backup"]
    assert [command[:2] for command in commands] == [["backup", "create"], ["backup", "verify"]]
    assert all(takes(command) for command in commands)
    assert not takes(["backup", "verify", "--no-such-option"])


def test_every_variable_is_a_setting_and_no_secret_is_in_one() -> None:
    for _, container in containers():
        names = {entry["name"] for entry in container["env"]}
        assert {name.removesuffix("_FILE") for name in names - POSTGRES} <= SETTINGS
        assert not names & {"PENSTOCK_BACKUP_KEY", "PENSTOCK_BACKUP_DATABASE_URL", "POSTGRES_PASSWORD"}


def test_every_file_and_folder_that_a_container_names_is_mounted() -> None:
    for spec, container in containers():
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        for value in (entry["value"] for entry in container["env"] if entry["value"].startswith("/")):
            assert any(value == mount or value.startswith(f"{mount}/") for mount in mounts), value
        assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in spec["volumes"]}


def test_containers_are_no_more_powerful_than_they_need_be() -> None:
    for spec, container in containers():
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        rights = container["securityContext"]
        assert (rights["readOnlyRootFilesystem"], rights["allowPrivilegeEscalation"]) == (True, False)
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert (rights | spec["securityContext"]).get("runAsUser", 0) > 0
        assert container["resources"]["limits"].keys() == {"cpu", "memory"}


def test_the_verification_has_no_way_to_the_live_database() -> None:
    pod = pods()["penstock-backup-verify"]
    (keys,) = [volume["secret"] for volume in pod["spec"]["volumes"] if volume["name"] == "key"]
    assert [item["key"] for item in keys["items"]] == ["key"]
    policy = objects("NetworkPolicy")["penstock-backup-verify"]["spec"]
    assert (policy["policyTypes"], policy.get("egress")) == (["Ingress", "Egress"], None)
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


def test_the_backup_reaches_postgresql_and_names_alone() -> None:
    policy = objects("NetworkPolicy")["penstock-backup"]["spec"]
    labels = pods()["penstock-backup"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {5432, 53}
    assert "ingress" not in policy


def test_the_image_ends_as_an_ordinary_user_on_a_base_that_is_named() -> None:
    lines = (FOLDER / "Dockerfile").read_text("utf-8").splitlines()
    instructions = [line for line in lines if re.match(r"[A-Z]+ ", line)]
    assert instructions[:2] == ["ARG PENSTOCK_IMAGE", "FROM ${PENSTOCK_IMAGE}"]
    users = [line for line in instructions if line.startswith("USER ")]
    assert users[-1] == instructions[-1] == "USER 10001:10001"
    assert not any(line.startswith(("ENV", "COPY", "ADD")) for line in instructions)


@pytest.mark.parametrize("name", UNITS)
def test_units_of_systemd_run_a_command_that_is_one(name: str) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # as the module's documentation has it
    text = (FOLDER / f"{name}.service").read_text("utf-8")
    unit.read_string(text)
    program, *arguments = unit["Service"]["ExecStart"].split()
    assert program.endswith("/penstock")
    assert takes(arguments)
    variables = dict(
        line.partition("=")[2].split("=", 1) for line in text.splitlines() if line.startswith("Environment=")
    )
    assert {variable.removesuffix("_FILE") for variable in variables} <= SETTINGS
    credentials = {line.partition("=")[2].split(":")[0] for line in text.splitlines() if line.startswith("LoadCred")}
    assert {value.removeprefix("%d/") for value in variables.values() if value.startswith("%d/")} == credentials


@pytest.mark.parametrize("name", UNITS)
def test_units_are_ones_to_systemd(name: str, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    timer = (FOLDER / f"{name}.timer").read_text("utf-8")
    (calendar,) = re.findall(r"^OnCalendar=(.+)$", timer, re.MULTILINE)
    assert calendar in {"*-*-* 02:00:00 UTC", "Sun *-*-* 05:00:00 UTC"}
    if program is None:
        return  # what any machine can check is checked
    done = subprocess.run([program, "calendar", calendar], capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    # The program is not installed where the units expect it.
    service = (FOLDER / f"{name}.service").read_text("utf-8").replace("/opt/penstock/bin/penstock", "/bin/true")
    (tmp_path / f"{name}.service").write_text(service)
    (tmp_path / f"{name}.timer").write_text(timer)
    checked = [program, "verify", "--man=no", str(tmp_path / f"{name}.service"), str(tmp_path / f"{name}.timer")]
    done = subprocess.run(checked, capture_output=True, check=False, timeout=60)
    complaints = [line for line in done.stderr.decode().splitlines() if str(tmp_path) in line or name in line]
    assert not [line for line in complaints if "Unknown" in line or "Failed to parse" in line or "Invalid" in line]


def test_the_page_names_commands_that_are_ones() -> None:
    page = (FOLDER.parents[1] / "docs" / "backup.md").read_text("utf-8")
    commands = re.findall(r"penstock ((?:backup|migrate) [a-z-]+)((?: (?:NAME|--[a-z-]+))*)", page)
    assert len(commands) > 8
    for words, options in commands:
        assert takes([*words.split(), *(option for option in options.split() if option.startswith("--"))]), words
    assert set(re.findall(r"`(PENSTOCK_BACKUP_[A-Z_]+?)(?:_FILE)?[`=]", page)) <= SETTINGS


def test_kustomize_takes_it() -> None:
    program = shutil.which("kubectl") or shutil.which("kustomize")
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))["resources"]
    assert listed == ["cronjob.yaml"]
    if program is not None:
        command = [program, "kustomize" if program.endswith("kubectl") else "build", str(FOLDER)]
        built = subprocess.run(command, capture_output=True, check=True, timeout=60)
        assert len(list(yaml.safe_load_all(built.stdout))) == 5
