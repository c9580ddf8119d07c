"""`stateward` and `python -m stateward`: the command line."""

from stateward.cli.app import app


def main() -> None:
    """Run the command line and exit with its code."""
    app(prog_name="stateward")


if __name__ == "__main__":
    main()
