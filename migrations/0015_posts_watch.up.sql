-- Lists and calendars of posts for operators, who look at all tenants at once, and how late posts went out. The table
-- comes with the same release as these, and is empty: they need not be built concurrently.

CREATE INDEX scheduled_posts_watch_idx ON penstock.scheduled_posts (state, due_at, post_id) INCLUDE (platform, tenant);
-- A post enters it once, when it is out.
CREATE INDEX scheduled_posts_published_idx ON penstock.scheduled_posts (published_at) INCLUDE (due_at)
    WHERE state = 'published';
