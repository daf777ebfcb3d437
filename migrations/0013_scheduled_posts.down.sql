DROP FUNCTION penstock.drop_publish_attempts_partitions(integer);
DROP FUNCTION penstock.ensure_publish_attempts_partitions(integer);
DROP FUNCTION penstock.ensure_publish_attempts_partition(date);
DROP TABLE penstock.publish_attempts;
DROP TABLE penstock.scheduled_posts;
