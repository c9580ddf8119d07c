"""NATS, and all that is known of it."""
