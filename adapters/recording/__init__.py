"""A log as the eventsourcing library's recorders, so that its tools work on ours."""
