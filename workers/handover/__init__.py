"""A file of submissions handed over: read and checked whole, sent in batches, its outcome awaited."""
