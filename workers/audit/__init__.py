"""What operators did, as a chain that nobody can alter unseen: sealed, verified, kept for its time, reported on."""
