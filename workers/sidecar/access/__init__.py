"""Who may do what in the sidecar: credentials, log-in, sessions, tokens."""
