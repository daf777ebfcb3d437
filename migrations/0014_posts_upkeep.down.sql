DROP FUNCTION penstock.delete_ended_posts(timestamptz, integer);
DROP INDEX penstock.scheduled_posts_ended_idx;
DROP FUNCTION penstock.enqueue_many_bytes(text[], bytea[], timestamptz[], text[], text[], text[], integer[]);
DROP TRIGGER scheduled_posts_due_when_changed ON penstock.scheduled_posts;
DROP TRIGGER scheduled_posts_due_when_added ON penstock.scheduled_posts;
DROP FUNCTION penstock.tell_of_due_post();
