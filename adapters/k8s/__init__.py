"""Apps as objects of a Kubernetes cluster."""
