"""People and programs come in here: the HTTP API, queries, tokens."""
