"""Registries of images, asked by the OCI distribution API for what a tag names now."""
