"""The embedded log and secret store, in SQLite."""
