"""Whether every accepted job is in exactly one place."""
