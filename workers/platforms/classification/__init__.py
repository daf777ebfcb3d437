"""What platforms' answers mean: one table a platform, each row with the page that tells it."""
