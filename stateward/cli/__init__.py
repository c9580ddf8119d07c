"""The `stateward` command: a client of the HTTP API, and the server it talks to."""
