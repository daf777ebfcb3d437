"""Logs and metrics. Neither ever holds an answer, a text, a token or a key."""
