DROP INDEX IF EXISTS penstock.scheduled_posts_published_idx;
DROP INDEX IF EXISTS penstock.scheduled_posts_watch_idx;
