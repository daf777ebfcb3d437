"""The audit's chain: what a superuser does to it is found and named."""

import threading

import psycopg
import pytest

from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.audit.chain import chain_state
from penstock.workers.audit.keys import AuditKeys
from penstock.workers.audit.seals import NOTHING_BEFORE, Anchor, Seal, content_digest
from tests.workers.audit.conftest import KEYS, Chain

OTHER_KEYS = AuditKeys.from_setting("2026a:ffffffffffffffffffffffffffffffff")
NO_KEYS = AuditKeys()


def test_what_is_sealed_is_whole_and_the_anchor_names_it(chain: Chain) -> None:
    first, _ = chain.sealed("one", "two")
    second, _ = chain.sealed("three")
    chain.record("waits")
    verdict = chain.verify(anchors=[Anchor.parse(first), Anchor.parse(second)], keyed_from=1)
    assert verdict.is_whole
    assert (verdict.seals, verdict.actions, verdict.waiting, verdict.begins_at, verdict.keyed_from) == (2, 3, 1, 1, 1)
    assert verdict.as_dict()["anchor"] == second
    with psycopg.connect(chain.database.url) as connection:
        state = chain_state(connection)
    assert (state.anchor, state.waiting) == (second, 1)


def test_without_actions_nothing_is_sealed_and_the_empty_chain_is_whole(chain: Chain) -> None:
    assert chain.seal() is None
    assert chain.verify().is_whole


def test_who_commits_late_is_in_a_later_seal(chain: Chain) -> None:
    with psycopg.connect(chain.database.url) as late:
        late.execute(
            "INSERT INTO penstock.operator_actions VALUES (gen_random_uuid(), now(), 'a', 'b', 'c', 'late', '{}')"
        )
        chain.sealed("early")
        late.commit()
    made = chain.seal()
    assert made is not None
    assert (made.seal.number, made.seal.actions) == (2, 1)
    assert chain.verify().is_whole


def test_more_than_a_seal_holds_go_into_several(chain: Chain) -> None:
    chain.record(*(str(number) for number in range(1_001)))
    made = [chain.seal(), chain.seal(), chain.seal()]
    assert [None if one is None else (one.seal.actions, one.more) for one in made] == [(1_000, True), (1, False), None]
    assert chain.verify().is_whole


TAMPERINGS: dict[str, tuple[str, str]] = {
    "reason": ("action-changed", "UPDATE penstock.operator_actions SET reason = 'else' WHERE action_id = %s"),
    "actor": ("action-changed", "UPDATE penstock.operator_actions SET actor = 'bob' WHERE action_id = %s"),
    "instant": (
        "action-changed",
        "UPDATE penstock.operator_actions SET at = at + INTERVAL '1 microsecond' WHERE action_id = %s",
    ),
    "endless": ("action-changed", "UPDATE penstock.operator_actions SET at = 'infinity' WHERE action_id = %s"),
    "details": (
        "action-changed",
        "UPDATE penstock.operator_actions SET details = details || '{\"n\": 1.50}' WHERE action_id = %s",
    ),
    "removed": ("action-missing", "DELETE FROM penstock.operator_actions WHERE action_id = %s"),
}


@pytest.mark.parametrize(("problem", "statement"), TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_an_action_that_was_changed_or_removed_is_named(chain: Chain, problem: str, statement: str) -> None:
    chain.sealed("one")
    _, (_, changed, _) = chain.sealed("two", "three", "four")
    chain.sealed("five")
    chain.tamper(statement, parameters=(changed,))
    (found,) = chain.verify().problems
    assert (found.problem, found.seal, found.action) == (problem, 2, changed)


def test_an_action_that_was_put_in_between_is_named(chain: Chain) -> None:
    chain.sealed("one", "two")
    chain.tamper(
        "INSERT INTO penstock.operator_actions SELECT '00000000-0000-4000-8000-000000000000', at, actor, action,"
        " target, 'forged', details, recorded_at FROM penstock.operator_actions WHERE reason = 'one'"
    )
    (found,) = chain.verify().problems
    assert (found.problem, found.action) == ("action-added", "00000000-0000-4000-8000-000000000000")


def test_two_actions_that_changed_their_places_are_named(chain: Chain) -> None:
    _, ids = chain.sealed("one", "two")
    chain.tamper(
        "UPDATE penstock.operator_actions a SET reason = b.reason FROM penstock.operator_actions b"
        " WHERE a.action_id <> b.action_id"
    )
    assert [(one.problem, one.action) for one in chain.verify().problems] == [
        ("action-changed", action_id) for action_id in ids
    ]


def test_entries_that_changed_their_places_are_named_by_their_seal(chain: Chain) -> None:
    chain.sealed("one", "two", "three")
    chain.tamper(
        "UPDATE penstock.audit_sealed_actions SET position = 9 WHERE position = 0",
        "UPDATE penstock.audit_sealed_actions SET position = 0 WHERE position = 2",
        "UPDATE penstock.audit_sealed_actions SET position = 2 WHERE position = 9",
    )
    (found,) = chain.verify().problems
    assert (found.problem, found.seal) == ("entries-changed", 1)


def test_who_changes_an_action_and_its_digest_is_found_at_the_seal(chain: Chain) -> None:
    _, (action_id,) = chain.sealed("one")
    chain.tamper(
        "DELETE FROM penstock.operator_actions WHERE action_id = %s",
        "DELETE FROM penstock.audit_sealed_actions WHERE action_id = %s",
        parameters=(action_id,),
    )
    (found,) = chain.verify().problems
    assert (found.problem, found.seal) == ("entries-changed", 1)


def test_a_seal_in_the_middle_that_is_gone_is_named(chain: Chain) -> None:
    for reason in ("one", "two", "three"):
        chain.sealed(reason)
    chain.tamper("DELETE FROM penstock.audit_seals WHERE number = 2")
    assert chain.verify().problems[0].seal == 2
    assert chain.verify().problems[0].problem == "seal-missing"


def test_the_first_seal_that_is_gone_is_named(chain: Chain) -> None:
    chain.sealed("one")
    chain.sealed("two")
    chain.tamper(
        "DELETE FROM penstock.operator_actions WHERE reason = 'one'",
        "DELETE FROM penstock.audit_sealed_actions WHERE seal = 1",
        "DELETE FROM penstock.audit_seals WHERE number = 1",
    )
    (found,) = chain.verify().problems
    assert (found.problem, found.seal) == ("seal-missing", 1)


@pytest.mark.parametrize("what_else", ["nothing", "entries", "all"])
def test_a_last_seal_that_is_gone_is_named(chain: Chain, what_else: str) -> None:
    chain.sealed("one")
    anchor, (action_id,) = chain.sealed("two")
    statements = {
        "nothing": [],
        "entries": ["DELETE FROM penstock.audit_sealed_actions WHERE seal = 2"],
        "all": [
            "DELETE FROM penstock.audit_sealed_actions WHERE seal = 2",
            f"DELETE FROM penstock.operator_actions WHERE action_id = '{action_id}'",
        ],
    }[what_else]
    chain.tamper("DELETE FROM penstock.audit_seals WHERE number = 2", *statements)
    without = [(one.problem, one.seal, one.action) for one in chain.verify().problems]
    # Of a whole end that is gone, only what was noted elsewhere tells.
    assert (
        without
        == {
            "nothing": [("seal-missing", 2, None)],
            "entries": [("action-added", None, action_id)],
            "all": [],
        }[what_else]
    )
    assert ("anchor-missing", 2) in [
        (one.problem, one.seal) for one in chain.verify(anchors=[Anchor.parse(anchor)]).problems
    ]


def _made_anew(chain: Chain, keys: AuditKeys) -> None:
    """Change the first action, and make the whole chain anew with these keys."""
    chain.tamper(
        "UPDATE penstock.operator_actions SET reason = 'else' WHERE reason = 'one'",
        "INSERT INTO penstock.audit_unsealed SELECT action_id FROM penstock.audit_sealed_actions",
        "DELETE FROM penstock.audit_sealed_actions",
        "DELETE FROM penstock.audit_seals",
    )
    assert chain.seal(keys) is not None


@pytest.mark.parametrize(
    ("keys", "problem"), [(OTHER_KEYS, "seal-changed"), (NO_KEYS, "seal-not-keyed")], ids=["another key", "no key"]
)
def test_a_chain_that_was_made_anew_without_the_key_is_found(chain: Chain, keys: AuditKeys, problem: str) -> None:
    chain.sealed("one")
    chain.sealed("two")
    _made_anew(chain, keys)
    assert [(one.problem, one.seal) for one in chain.verify().problems] == [(problem, 1)]


def test_a_chain_without_keys_that_was_made_anew_is_found_by_its_anchor(chain: Chain) -> None:
    anchor, _ = chain.sealed("one", keys=NO_KEYS)
    _made_anew(chain, NO_KEYS)
    assert chain.verify(keys=NO_KEYS).is_whole
    (found,) = chain.verify(keys=NO_KEYS, anchors=[Anchor.parse(anchor)]).problems
    assert (found.problem, found.seal) == ("anchor-differs", 1)


def test_a_forged_beginning_under_an_honest_seal_is_found_where_the_key_has_to_begin(chain: Chain) -> None:
    chain.sealed("one")
    _made_anew(chain, NO_KEYS)
    honest = chain.seal()
    assert honest is not None
    assert (honest.seal.number, honest.seal.actions, honest.seal.key_id) == (2, 0, "2026a")
    assert chain.verify().keyed_from == 2
    (found,) = chain.verify(keyed_from=1).problems
    assert (found.problem, found.seal) == ("seal-not-keyed", 1)


def test_a_seal_without_a_key_after_one_with_a_key_is_named(chain: Chain) -> None:
    chain.sealed("one")
    chain.sealed("two", keys=NO_KEYS)
    assert [(one.problem, one.seal) for one in chain.verify().problems] == [("seal-not-keyed", 2)]


def test_a_key_that_is_not_known_is_named_and_old_ones_verify(chain: Chain) -> None:
    chain.sealed("one")
    rotated = AuditKeys.from_setting(f"2027a:{'k' * 32},2026a:0123456789abcdef0123456789abcdef")
    chain.sealed("two", keys=rotated)
    assert chain.verify(keys=rotated).is_whole
    (found,) = chain.verify().problems
    assert (found.problem, found.seal) == ("seal-key-unknown", 2)


def test_a_seal_whose_facts_were_changed_is_named(chain: Chain) -> None:
    chain.sealed("one")
    chain.sealed("two")
    chain.tamper("UPDATE penstock.audit_seals SET sealed_at = sealed_at - INTERVAL '1 hour' WHERE number = 2")
    (found,) = chain.verify().problems
    assert (found.problem, found.seal) == ("seal-changed", 2)


def test_an_action_that_is_removed_before_its_seal_is_missed(chain: Chain) -> None:
    action_id, _ = chain.record("one", "two")
    chain.tamper("DELETE FROM penstock.operator_actions WHERE action_id = %s", parameters=(action_id,))
    chain.seal()
    (found,) = chain.verify().problems
    assert (found.problem, found.action) == ("action-missing", action_id)


def test_a_worker_may_neither_change_nor_remove(chain: Chain) -> None:
    chain.sealed("one")
    for table in ("operator_actions", "audit_seals", "audit_sealed_actions"):
        for statement in (f"DELETE FROM penstock.{table}", f"TRUNCATE penstock.{table}"):
            with psycopg.connect(chain.database.url) as connection:
                # As retention does it, which takes the owner's rights.
                connection.execute("SELECT set_config('penstock.audit_retention', 'on', true)")
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement.encode())
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
                chain.database.query(statement)
    assert chain.verify().is_whole


def test_many_at_once_record_while_two_seal(chain: Chain) -> None:
    done = threading.Event()
    writers = [threading.Thread(target=lambda: [chain.record("x", "y") for _ in range(25)]) for _ in range(8)]

    def seal() -> None:
        while not done.is_set():
            chain.seal()

    sealers = [threading.Thread(target=seal) for _ in range(2)]
    for thread in (*writers, *sealers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in sealers:
        thread.join()
    while chain.seal() is not None:
        pass
    verdict = chain.verify()
    assert verdict.is_whole, verdict.problems
    assert (verdict.actions, verdict.waiting) == (400, 0)


FIXED = """
INSERT INTO penstock.operator_actions VALUES
    ('5b2f6e5c-7a2f-4e58-9d7c-0d3a3f1f8e11', '2026-11-21 21:00:00.000001+01', 'ada', 'queue.pause', 'posts', 'é "why"',
     '{"b": [1.50, null], "a": "\\u00e9"}', '2026-11-21 20:00:02+00')
"""


def test_digests_are_what_they_were(chain: Chain) -> None:
    # A release that computes them otherwise would call every chain broken.
    seal = Seal(1, "1795280000.000000", 0, None, None, content_digest([]), NOTHING_BEFORE, "")
    assert seal.expected_digest(NO_KEYS).hex() == "892dce86725cc7a60c0e47037613e0421c8a721ca3b7b85606cf444430f19aef"
    chain.database.query(FIXED)
    made = chain.seal()
    assert made is not None
    assert made.seal.content.hex() == "69e75509c7263390d61b245e067943b19b231cac59b155b952a20003976e4839"


@pytest.mark.parametrize("text", ["", "1", "1:", "x:" + "a" * 64, "1:" + "A" * 64, "1:" + "a" * 63, "²:" + "a" * 64])
def test_what_is_no_anchor_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Anchor.parse(text)
    assert caught.value.code is Code.REQUEST_USAGE


@pytest.mark.parametrize(
    "setting", ["short:key", "no key", f"a b:{'k' * 32}", f"a:{'k' * 32},a:{'l' * 32}"], ids=lambda text: text[:9]
)
def test_what_is_no_key_is_refused_and_not_repeated(setting: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        AuditKeys.from_setting(setting)
    assert caught.value.code is Code.CONFIG_INVALID
    assert setting not in str(caught.value)


def test_keys_are_not_shown() -> None:
    assert "0123456789abcdef" not in repr(KEYS)
