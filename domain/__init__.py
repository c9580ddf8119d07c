"""What may be asked and what it means: resources, intents, events, refusals. Pure."""
