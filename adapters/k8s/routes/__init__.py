"""Routes of an app as objects of its cluster: for Gateway API, Traefik's own kinds, or Ingress."""
