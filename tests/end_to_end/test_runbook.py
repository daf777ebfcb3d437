"""The runbook, done as it says: every command of the page, in its order, while what it is about really happens."""

import getpass
import json
import re
from collections.abc import Callable, Iterator

import click
import pytest

from penstock.schemas.errors import Code
from penstock.workers.cli.root import root
from penstock.workers.protection.pauses import PAUSABLE
from tests.end_to_end.runbook_page import PAGE, Step, read_steps
from tests.end_to_end.runbook_system import HOUR, QUEUE, RunbookSystem
from tests.posts_kit import ago
from tests.system import wait_for

STEPS = read_steps(PAGE.read_text())
#: Groups of commands that are for operators in an outage, all of whose commands the page has to tell.
GROUPS = ("queue", "job", "circuit", "flag", "limit", "dead")
FORM = {"title": "One question", "questions": [{"id": "q", "text": "What?", "type": "text"}]}

Situation = Callable[[RunbookSystem], None]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunbookSystem]:
    with RunbookSystem(tmp_path_factory.mktemp("runbook")) as made:
        yield made


def a_platform_fails(system: RunbookSystem) -> None:
    system.fail_calls("platform:instagram")
    system.job = system.post(3, account="3")
    system.wait_until(system.job, lambda job: job.state == "scheduled", "the circuit to hold the posts")


def a_platform_limits_us(system: RunbookSystem) -> None:
    system.limits.block("account:178414", 2 * HOUR, "429 of instagram")
    system.job = system.post()
    system.wait_until(system.job, lambda job: job.state == "scheduled", "the block to hold the post")


def a_tenant_floods(system: RunbookSystem) -> None:
    system.post(400, tenant="flood", platform="tiktok", account="7", takes_seconds=0.1)
    for account in range(3):
        system.post(platform="tiktok", account=f"{account}", takes_seconds=0.1)


def an_account_misbehaves(system: RunbookSystem) -> None:
    system.job = system.post(2, platform="tiktok", account="9001", status=401)
    system.wait_until(system.job, lambda job: job.state == "dead", "the posts to fail")
    wait_for(lambda: system.counts().dead == 2, "both to fail")
    system.wait_for_letter()


def posts_wait_for_the_account(system: RunbookSystem) -> None:
    system.post(2, platform="tiktok", account="9001")
    wait_for(lambda: system.counts().parked == 2, "the pause to hold the posts")


def posts_go_again(system: RunbookSystem) -> None:
    def gone() -> bool:
        counts = system.counts()
        return counts.ready + counts.leased + counts.parked == 0

    wait_for(gone, "the posts to go again")


def a_kind_is_broken(system: RunbookSystem) -> None:
    posts_go_again(system)
    system.job = system.post(platform="tiktok", account="8", status=400)
    system.wait_until(system.job, lambda job: job.state == "dead", "the post to fail")
    system.wait_for_letter()


def posts_wait_for_the_kind(system: RunbookSystem) -> None:
    system.post(2, platform="tiktok", account="8")
    wait_for(lambda: system.counts().parked == 2, "the pause to hold the posts")


def letters_wait(system: RunbookSystem) -> None:
    assert system.letter is not None
    body = system.postgres.database.value("SELECT body FROM penstock.dead_letters WHERE dead_id = %s", system.letter)
    (system.folder / "corrected.json").write_text(json.dumps(json.loads(bytes(body)) | {"status": 201}))


def an_account_is_at_its_limit(system: RunbookSystem) -> None:
    system.use_up("account:4711")
    system.job = system.post(platform="tiktok", account="4711")
    system.wait_until(system.job, lambda job: job.state == "scheduled", "the limit to hold the post")


def postgresql_dies(system: RunbookSystem) -> None:
    system.postgres.kill9()
    system.job = system.post(platform="tiktok", account="5")
    system.wait_until(system.job, lambda job: job.blocked_by == "storage", "the worker to hold still")


def the_job_is_done(system: RunbookSystem) -> None:
    assert system.job is not None
    system.wait_until(system.job, lambda job: job.state == "done", "the job to run")


def postgresql_is_back(system: RunbookSystem) -> None:
    system.postgres.start()
    the_job_is_done(system)


def redis_dies(system: RunbookSystem) -> None:
    system.valkey.kill9()


def redis_is_back(system: RunbookSystem) -> None:
    system.valkey.start()


def redis_is_full(system: RunbookSystem) -> None:
    (system.folder / "strikes.json").write_text(json.dumps(FORM))
    (system.folder / "reports.jsonl").write_text(json.dumps({"answers": {"q": "a"}}))
    assert system.penstock("forms", "apply", "strikes.json").code == 0
    system.client.config_set("maxmemory", "1mb")


def redis_has_room(system: RunbookSystem) -> None:
    system.client.config_set("maxmemory", "0")


def a_job_does_not_run(system: RunbookSystem) -> None:
    system.job = system.post(kind="post.delete")
    system.wait_until(system.job, lambda job: job.state == "parked", "the post of an unknown kind")


def a_job_is_lost(system: RunbookSystem) -> None:
    system.penstock("queue", "pause", QUEUE, "--reason", "so that the job waits")
    system.job = system.post(tenant="lost", platform="tiktok", account="6")
    assert system.client.lrem(system.keys.key("ready:lost"), 0, str(system.job)) == 1


def the_job_is_put_back(system: RunbookSystem) -> None:
    system.client.rpush(system.keys.key("ready:lost"), str(system.job))
    system.penstock("queue", "resume", QUEUE, "--reason", "the job is back")
    the_job_is_done(system)


def posts_are_late(system: RunbookSystem) -> None:
    # Nothing may go out to a platform from here on.
    system.penstock("queue", "pause", "--kind", "scheduled_post.publish", "--reason", "a look at what it does")
    with system.desk() as desk:
        account = desk.account()
        late, held = desk.post(account, ago(minutes=2)), desk.post(account, ago(hours=1), "hold")
        desk.wait_for_state(held, "held")
        desk.wait_for_state(late, "claimed")
        system.job = desk.job(late)
    system.wait_until(system.job, lambda job: job.state == "parked", "the pause to hold the post")
    system.names |= {"POST": str(late), "OTHER": str(held)}


def an_account_is_refused(system: RunbookSystem) -> None:
    (system.folder / "token").write_text("a-new-token")
    with system.desk() as desk:
        account = desk.account()
        desk.refuse(account)
        post = desk.post(account, ago(minutes=2))
        desk.wait_for_parked(post)
    system.names |= {"POST": str(post), "ACCOUNT": str(account)}


def outcomes_are_unknown(system: RunbookSystem) -> None:
    with system.desk() as desk:
        account = desk.account()
        posts = [desk.post(account, ago(minutes=minutes)) for minutes in (3, 2)]
        for post in posts:
            desk.wait_for_state(post, "claimed")
            desk.lose_the_answer(post)
    system.names |= dict(zip(("POST", "OTHER"), map(str, posts), strict=True))


#: What is brought about before the commands of a section and label.
SITUATIONS: dict[tuple[str, str], Situation] = {
    ("A platform fails", "You see"): a_platform_fails,
    ("A platform limits us", "You see"): a_platform_limits_us,
    ("One tenant floods", "You see"): a_tenant_floods,
    ("One account misbehaves", "You see"): an_account_misbehaves,
    ("One account misbehaves", "Undo"): posts_wait_for_the_account,
    ("A kind of job is broken since a deploy", "You see"): a_kind_is_broken,
    ("A kind of job is broken since a deploy", "Undo"): posts_wait_for_the_kind,
    ("A kind of job is broken since a deploy", "It heals"): posts_go_again,
    ("Dead letters wait for a decision", "You see"): letters_wait,
    ("A limit is too tight, or too loose", "You see"): an_account_is_at_its_limit,
    ("A limit is too tight, or too loose", "It heals"): the_job_is_done,
    ("PostgreSQL is away", "You see"): postgresql_dies,
    ("PostgreSQL is away", "It heals"): postgresql_is_back,
    ("Redis is away", "You see"): redis_dies,
    ("Redis is away", "It heals"): redis_is_back,
    ("Redis is full", "You see"): redis_is_full,
    ("Redis is full", "It heals"): redis_has_room,
    ("A job does not run", "You see"): a_job_does_not_run,
    ("Is every job accounted for?", "You see"): a_job_is_lost,
    ("Is every job accounted for?", "It heals"): the_job_is_put_back,
    ("Posts are late", "You see"): posts_are_late,
    ("An account must be authorised anew", "You see"): an_account_is_refused,
    ("A post's outcome is unknown", "You see"): outcomes_are_unknown,
}


def names_of(system: RunbookSystem) -> dict[str, str]:
    """What the page's examples are called in this run."""
    return {"ID": str(system.job), "LETTER": str(system.letter), "ada": getpass.getuser()} | system.names


def test_every_command_does_what_the_page_says(system: RunbookSystem) -> None:
    faults, place = [], ("", "")
    for step in STEPS:
        if (step.section, step.label) != place:
            place = (step.section, step.label)
            if place in SITUATIONS:
                SITUATIONS[place](system)
        faults += faults_of(step, system)
    assert not faults, "\n\n".join(faults)


def faults_of(step: Step, system: RunbookSystem) -> list[str]:
    names = names_of(system)
    run = system.penstock(*step.arguments(names))
    printed = run.out + run.err
    if any("REPLAY" in line for line in step.lines):
        names["REPLAY"] = str(system.replay())
    missing = step.missing(printed, names)
    if run.code == step.exit_code and not missing:
        return []
    told = f"{PAGE.name}:{step.number} ({step.section}, {step.label}): {step.command}\nexit code {run.code}"
    return ["\n".join([told, "not printed:", *missing, "but:", printed])]


def test_the_situations_are_those_of_the_page() -> None:
    assert set(SITUATIONS) <= {(step.section, step.label) for step in STEPS}


def test_the_page_tells_every_command_of_operators() -> None:
    told = [step.command.split() for step in STEPS]
    commands = {tuple(words[1:3]) for words in told}
    for group in GROUPS:
        found = root.get_command(click.Context(root), group)
        assert isinstance(found, click.Group)
        assert {(group, name) for name in found.commands} <= commands
    for verb in ("pause", "resume"):
        things = {words[3].removeprefix("--") for words in told if words[1:3] == ["queue", verb]}
        assert things >= {*PAUSABLE, "submissions"}
    assert {words[1] for words in told} >= {"health", "reconcile"}


def test_the_codes_and_places_that_the_page_names_exist() -> None:
    page = PAGE.read_text()
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line[3:].lower()).replace(" ", "-") for line in page.split("\n") if line[:3] == "## "
    }
    assert set(re.findall(r"\]\(#([a-z-]+)\)", page)) <= headings
    codes = set(re.findall(r"\b(?:BATCH|CIRCUIT|FORM|JOB|PLATFORM|QUEUE|STORAGE)_[A-Z_]*[A-Z]\b", page))
    assert codes <= {str(code) for code in Code}
    pages = re.findall(r"\]\(([a-z/-]+\.md)[#)]", page)
    assert [one for one in pages if not (PAGE.parent / one).exists()] == []


def test_a_line_that_is_not_printed_is_found_out() -> None:
    """The control."""
    block = ["$ penstock x ID  # exit code 1", "ID  was", "…", "is … by ada"]
    (step,) = read_steps("\n".join(["## A", "**You see.** x", "```console", *block, "```"]))
    names = {"ID": "7", "ada": "eve"}
    assert (step.section, step.label, step.exit_code, step.arguments(names)) == ("A", "You see", 1, ["x", "7"])
    assert step.missing("7   was\nmore\nis 3 by eve", names) == []
    assert step.missing("is 3 by eve\n7 was", names) == ["is … by ada"]
    assert step.missing("7 was", names) == ["is … by ada"]
    assert step.missing("77 was\nis 3 by eve", names)[0] == "ID  was"
