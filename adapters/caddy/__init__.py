"""Caddy as the router of a target, and the resolvers that tell it where replicas are."""
