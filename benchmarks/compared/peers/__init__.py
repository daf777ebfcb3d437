"""One file a system: its jobs, how its producer is made (`make_sender`), and what its own worker command loads."""
