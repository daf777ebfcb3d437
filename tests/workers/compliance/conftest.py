"""A worker's parts in this process, and requests about people's data."""

from tests.person_kit import desk, environment
from tests.workers.batches import batches, parts, pool

__all__ = ["batches", "desk", "environment", "parts", "pool"]
