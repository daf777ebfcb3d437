"""What the roles may do once every migration is applied, and the look whether they still may, and may no more.

Grants are lost when a dump is restored without them, and more are given by hand: `penstock migrate verify` tells both.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import psycopg

from penstock.migrations.rights import OWNER
from penstock.schemas.errors import Code, PenstockError

WORKER, READER, PRODUCER, EVERYBODY = "penstock_worker", "penstock_reader", "penstock_producer", "PUBLIC"

#: Everything in the schema may be read by workers and readers; of these, readers see no more than some columns.
_READERS_COLUMNS: Mapping[str, str] = {
    "api_keys": "key_id tenant name prefix secret_id scopes created_at created_by expires_at revoked_at replaced_by"
    " last_used_at",
    "dead_letters": "",
    "erased_subjects": "",
    "person_data_requests": "request_id kind tenant subject_kind form_id question_id key_id asked_by reason asked_at"
    " state progress receipt started_at ended_at",
    "social_accounts": "account_id tenant owner platform external_id name state state_code state_changed_at key_id"
    " tokens_version token_expires_at refresh_due_at refreshed_at refresh_lease_until refresh_lease_by refresh_fence"
    " refresh_code metadata created_at updated_at",
}
_INSERTED = (
    "audit_sealed_actions audit_seals base_batches dead_letters form_versions forms job_effects operator_actions"
    " publish_attempts replay_items replays scheduled_posts social_accounts submission_batches submission_rejections"
    " submissions"
)
_DELETED = "audit_unsealed outbox replay_items"
_UPDATED: Mapping[str, str] = {
    "api_keys": "last_used_at",
    "dead_letter_groups": "note snoozed_until snoozed_open",
    "dead_letters": "state became resolved_at resolved_by resolution_reason replay_id edited",
    "forms": "latest_version updated_at",
    "outbox": "state relayed_at checked_at times_relayed last_code",
    "person_data_requests": "state progress started_at",
    "replay_items": "state",
    "replays": "status resumes_to prepared_died_at prepared_dead_id total sent done died skipped tokens tokens_at"
    " canary_until started_at ended_at told",
    "scheduled_posts": "state due_at version claimed_by claimed_at parked_at handle step attempts armed_at"
    " attempt_began_at attempt_ends_by external_id url published_at last_code updated_at",
    "social_accounts": "owner name state state_code state_changed_at token_ciphertext refresh_token_ciphertext key_id"
    " tokens_version token_expires_at refresh_due_at refreshed_at refresh_lease_until refresh_lease_by refresh_fence"
    " refresh_code metadata updated_at",
    "submission_batches": "stored rejected duplicates erased",
    "submission_rejections": "resolved_by resolved_at",
}
_EXECUTED: Mapping[str, str] = {
    WORKER: "delete_ended_posts delete_ended_replays delete_resolved_letters detach_old_partition"
    " drop_leaving_partition drop_publish_attempts_partitions drop_sealed_actions enqueue enqueue_bytes"
    " enqueue_many_bytes ensure_publish_attempts_partition ensure_publish_attempts_partitions"
    " ensure_submissions_partition ensure_submissions_partitions forget_probe job_id revive_letters"
    " end_person_data_request erase_in_letter erase_in_outbox erase_in_replay erase_posts erase_rejections"
    " erase_submissions",
    READER: "job_id",
    PRODUCER: "enqueue",
}


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """One right of one role.

    Attributes:
        what: the kind of thing and its name as GRANT takes them, such as `TABLE penstock.forms`.
        column: of a table; empty for the whole.
    """

    role: str
    privilege: str
    what: str
    column: str = ""

    def __str__(self) -> str:
        return f"{self.privilege}{f' ({self.column})' if self.column else ''} ON {self.what}"


# Rights of an owner on what is its own are not told. A function without a list of rights may be executed by everybody.
_GIVEN = """
WITH given (acl, what, attribute, owner) AS (
    SELECT relacl, CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || 'penstock.' || quote_ident(relname),
           '', relowner
      FROM pg_class WHERE relnamespace = 'penstock'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    UNION ALL
    SELECT attacl, 'TABLE penstock.' || quote_ident(relname), quote_ident(attname), relowner
      FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
     WHERE relnamespace = 'penstock'::regnamespace AND attacl IS NOT NULL AND NOT attisdropped
    UNION ALL
    SELECT coalesce(proacl, acldefault('f', proowner)), 'FUNCTION ' || p.oid::regprocedure, '', proowner
      FROM pg_proc p WHERE pronamespace = 'penstock'::regnamespace
    UNION ALL
    SELECT nspacl, 'SCHEMA penstock', '', nspowner FROM pg_namespace WHERE nspname = 'penstock'
)
SELECT coalesce(rolname, 'PUBLIC'), privilege_type, what, attribute
  FROM given CROSS JOIN aclexplode(acl) LEFT JOIN pg_roles r ON r.oid = grantee
 WHERE grantee <> owner AND (grantee = 0 OR rolname = ANY(%s))
"""
_THINGS = """
SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, 'penstock.' || quote_ident(relname), relname, relowner
  FROM pg_class WHERE relnamespace = 'penstock'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
UNION ALL
SELECT 'FUNCTION', p.oid::regprocedure::text, proname, proowner
  FROM pg_proc p WHERE pronamespace = 'penstock'::regnamespace
"""
_FOREIGN = f"SELECT kind, what FROM ({_THINGS}) AS thing (kind, what, name, owner)"
_FOREIGN += f" WHERE owner <> '{OWNER}'::regrole ORDER BY kind DESC, what"
# What is made from now on: each row is a statement that is missing.
_DEFAULTS = f"""
WITH made AS (
    SELECT defaclobjtype AS kind, defaclnamespace AS place, grantee, privilege_type
      FROM pg_default_acl CROSS JOIN aclexplode(defaclacl) WHERE defaclrole = '{OWNER}'::regrole
)
SELECT statement FROM (VALUES
    ('r', '{WORKER}', 'IN SCHEMA penstock GRANT SELECT ON TABLES TO {WORKER}'),
    ('r', '{READER}', 'IN SCHEMA penstock GRANT SELECT ON TABLES TO {READER}'),
    ('S', '{READER}', 'IN SCHEMA penstock GRANT SELECT ON SEQUENCES TO {READER}')
) AS wanted (kind, role, statement)
 WHERE NOT EXISTS (
       SELECT FROM made WHERE made.kind::text = wanted.kind AND place = 'penstock'::regnamespace
          AND grantee = wanted.role::regrole AND privilege_type = 'SELECT'
 )
 UNION ALL
SELECT 'REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC'
 WHERE NOT EXISTS (SELECT FROM pg_default_acl
                    WHERE defaclrole = '{OWNER}'::regrole AND defaclobjtype = 'f' AND defaclnamespace = 0)
    OR EXISTS (SELECT FROM made WHERE kind = 'f' AND grantee = 0)
"""
_MEMBERSHIPS = """
SELECT DISTINCT format('REVOKE %%s FROM %%s', roleid::regrole::text, member::regrole::text) FROM pg_auth_members
 WHERE member IN (SELECT oid FROM pg_roles WHERE rolname = ANY(%s)) ORDER BY 1
"""
_POWERS = """
SELECT format('ALTER ROLE %%I NOLOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS', rolname)
  FROM pg_roles WHERE rolname = ANY(%s)
   AND (rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls) ORDER BY 1
"""


def require_granted(connection: psycopg.Connection) -> None:
    """See that each role may do what the migrations let it, and nothing more; and that all belongs to the owner.

    Any login may look. Rights of roles that are not Penstock's are nobody's business here.

    Args:
        connection: to a database in which every migration of this release is applied, and none of a later one.

    Raises:
        PenstockError: `STORAGE_RIGHTS_DIFFER`, telling each difference; its remedy is the SQL that mends it.
    """
    differences = list(_differences(connection))
    if differences:
        told = "; ".join(said for said, _ in differences)
        statements = [statement for _, statement in differences]
        raise PenstockError(
            Code.STORAGE_RIGHTS_DIFFER,
            f"{len(differences)} right(s) are not as the migrations give them: {told}",
            remedy=f"Have an administrator run: {' '.join(f'{statement};' for statement in statements)}",
            details={"differences": [said for said, _ in differences], "sql": statements},
        )


def _differences(connection: psycopg.Connection) -> Iterator[tuple[str, str]]:
    """Each difference in words, and the statement that mends it."""
    for kind, what in connection.execute(_FOREIGN.encode()):
        yield f"{what} does not belong to {OWNER}", f"ALTER {kind} {what} OWNER TO {OWNER}"
    roles = [WORKER, READER, PRODUCER]
    given = {Grant(*row) for row in connection.execute(_GIVEN.encode(), (roles,))}
    wanted = set(_wanted(connection))
    for grant in sorted(wanted - given):
        yield f"{grant.role} lacks {grant}", f"GRANT {grant} TO {grant.role}"
    for grant in sorted(given - wanted):
        yield f"{grant.role} must not have {grant}", f"REVOKE {grant} FROM {grant.role}"
    for (statement,) in connection.execute(_DEFAULTS.encode()):
        yield f"of what is made from now on: {statement}", f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} {statement}"
    for (statement,) in connection.execute(_MEMBERSHIPS.encode(), (roles,)):
        yield f"a role must not be a member of another: {statement}", str(statement)
    for (statement,) in connection.execute(_POWERS.encode(), ([OWNER, *roles],)):
        yield f"a role must not have powers of its own: {statement}", str(statement)


def _wanted(connection: psycopg.Connection) -> Iterator[Grant]:
    for role in (WORKER, READER, PRODUCER):
        yield Grant(role, "USAGE", "SCHEMA penstock")
    for kind, what, name, _ in connection.execute(_THINGS.encode()):
        if kind == "FUNCTION":
            yield from _wanted_of_function(f"{kind} {what}", name)
        elif kind == "SEQUENCE":
            yield Grant(READER, "SELECT", f"{kind} {what}")
        else:
            yield from _wanted_of_table(f"{kind} {what}", name)


def _wanted_of_table(what: str, name: str) -> Iterator[Grant]:
    yield Grant(WORKER, "SELECT", what)
    if name in _READERS_COLUMNS:
        yield from _of_columns(READER, "SELECT", what, _READERS_COLUMNS[name].split())
    else:
        yield Grant(READER, "SELECT", what)
    if name in _INSERTED.split():
        yield Grant(WORKER, "INSERT", what)
    if name in _DELETED.split():
        yield Grant(WORKER, "DELETE", what)
    yield from _of_columns(WORKER, "UPDATE", what, _UPDATED.get(name, "").split())


def _of_columns(role: str, privilege: str, what: str, columns: Iterable[str]) -> Iterator[Grant]:
    return (Grant(role, privilege, what, column) for column in columns)


def _wanted_of_function(what: str, name: str) -> Iterator[Grant]:
    return (Grant(role, "EXECUTE", what) for role, names in _EXECUTED.items() if name in names.split())
