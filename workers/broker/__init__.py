"""How jobs come from Redis to their actors, and go back."""
