DROP FUNCTION penstock.ensure_submissions_partitions(integer);
DROP FUNCTION penstock.ensure_submissions_partition(date);
DROP TABLE penstock.submissions;
