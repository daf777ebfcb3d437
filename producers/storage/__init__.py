"""The SQL of forms and of status reads, for producers that have the extra `postgres`, and for workers."""
