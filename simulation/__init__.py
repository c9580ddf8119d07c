"""A world without luck of its own: simulated engine, bus, log and time."""
