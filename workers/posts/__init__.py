"""Scheduled posts: taking them in, claiming those that are due, and the steps by which one is published."""
