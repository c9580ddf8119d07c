"""An environment for a test: a home of its own, and only the variables that it names."""

from pathlib import Path

from stateward.environment import Environment


def surroundings(home: Path, **variables: str) -> Environment:
    """Of an ordinary user; `dataclasses.replace` makes it root."""
    return Environment(variables, is_root=False, home=home, system_config=home / "system.yaml")
