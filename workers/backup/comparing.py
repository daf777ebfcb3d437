"""A database held against a manifest: every difference, told by the name of what differs and never by content."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import psycopg

from penstock.workers.backup.manifest import Content, Manifest, TableContent
from penstock.workers.backup.measuring import measure

MAJOR = 10_000


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was compared, and how it differs.

    Attributes:
        definitions: whether definitions were compared too: only where both servers are of one major version.
    """

    tables: int
    rows: int
    definitions: bool
    differences: tuple[str, ...]


def compare(connection: psycopg.Connection, manifest: Manifest) -> Comparison:
    """Hold the connection's database against the manifest, within one snapshot.

    Raises:
        psycopg.Error: whatever PostgreSQL says.
    """
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        found = measure(connection)
        same_major = connection.info.server_version // MAJOR == manifest.server // MAJOR
    expected = manifest.content
    differences = [*_tables(expected.tables, found.tables), *_sequences(expected, found), *_roles(expected, found)]
    if same_major:
        differences += _definitions(expected.definitions, found.definitions)
    return Comparison(len(expected.tables), expected.rows, same_major, tuple(differences))


def _tables(expected: Mapping[str, TableContent], found: Mapping[str, TableContent]) -> Iterator[str]:
    for name, table in expected.items():
        if name not in found:
            yield f"the table {name} is missing"
        elif found[name].rows != table.rows:
            yield f"the table {name} has {found[name].rows} rows instead of {table.rows}"
        elif found[name].checksum != table.checksum:
            yield f"the table {name} has {table.rows} rows, as it should, but not the same ones"
    yield from (f"the table {name} was not there" for name in found.keys() - expected.keys())


def _sequences(expected: Content, found: Content) -> Iterator[str]:
    # A sequence is no part of a snapshot: the dump read it a moment later, when it may have been further on.
    for name, value in expected.sequences.items():
        if found.sequences.get(name, value - 1) < value:
            yield f"the sequence {name} is behind, or missing"


def _roles(expected: Content, found: Content) -> Iterator[str]:
    names = {role.name for role in found.roles}
    yield from (f"the role {role.name} is missing" for role in expected.roles if role.name not in names)
    members = {(membership.role, membership.member) for membership in found.memberships}
    for wanted in expected.memberships:
        if (wanted.role, wanted.member) not in members:
            yield f"{wanted.member} is no member of {wanted.role}"


def _definitions(expected: Mapping[str, str], found: Mapping[str, str]) -> Iterator[str]:
    for name, digest in expected.items():
        if name not in found:
            yield f"missing: {name}"
        elif found[name] != digest:
            yield f"different in its definition, owner or rights: {name}"
    yield from (f"was not there: {name}" for name in found.keys() - expected.keys())
