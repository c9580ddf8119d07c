"""Apps as objects of a Kubernetes cluster, as JSON over HTTP: no model of the SDK is used."""
