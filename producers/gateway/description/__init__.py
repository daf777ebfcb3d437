"""What the gateway tells of itself: OpenAPI with examples, and a page that shows it without the network."""
