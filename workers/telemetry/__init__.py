"""Logs, metrics and what Sentry hears. None ever holds an answer, a text, a token or a key."""
