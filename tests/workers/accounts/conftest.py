"""Posts and accounts in a migrated database."""

from tests.posts_kit import account, connect, connection

__all__ = ["account", "connect", "connection"]
