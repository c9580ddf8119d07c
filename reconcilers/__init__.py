"""Desired against observed: pure diffs, one shared loop, and the engine ports."""
