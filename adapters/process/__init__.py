"""Replicas as local processes."""
