"""Forms as workers use them: compiled, cached, and told when a newer version is there."""
