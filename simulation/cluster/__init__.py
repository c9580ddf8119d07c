"""A simulated cluster: an API of objects, controllers that make pods of them, copies that lag."""
