"""One look at a whole deployment, after it was rolled out: what is wrong, and what to do about each thing."""
