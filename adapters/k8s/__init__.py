"""Kubernetes, as JSON over HTTP: the SDK gives the way there, none of its models is used."""
