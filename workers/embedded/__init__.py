"""PostgreSQL and Valkey from wheels, and everything that `penstock up` runs on one machine."""
