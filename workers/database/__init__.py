"""PostgreSQL as workers use it: the pool, the one place that commits, and what its errors mean."""
