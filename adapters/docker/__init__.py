"""Replicas as containers of one Docker Engine.

A container is ours when its label `stateward/installation` says so; nothing else is touched. What
the daemon reports is parsed and judged by pure functions; the blocking SDK runs in threads.
"""
