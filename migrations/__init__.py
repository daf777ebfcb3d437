"""The database's schema as numbered SQL files, and what applies, reverts and checks them.

Numbers have no gaps, and each has two files, `NNNN_name.up.sql` and `NNNN_name.down.sql`. A file is one transaction,
run as `penstock_owner`, unless its first line is `-- penstock: no transaction`: then it holds exactly one statement
that may be run again (CREATE INDEX CONCURRENTLY IF NOT EXISTS).
"""
