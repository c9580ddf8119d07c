"""Probes: HTTP, TCP and exec checks of a replica."""
