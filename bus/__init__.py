"""How facts travel: the log port, the command side, hints and envelopes."""
