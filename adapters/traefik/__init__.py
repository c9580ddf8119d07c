"""Traefik as a router: it polls a document of ours, and changes over without cutting anything."""
