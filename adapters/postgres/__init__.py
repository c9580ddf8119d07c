"""The log and the secrets in PostgreSQL, for several control planes over one history."""
