"""Assembly: settings, wiring and the command line. Nothing is decided here."""
