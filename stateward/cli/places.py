"""Which log a verb without a server means: that of a directory, or the one of the settings."""

from pathlib import Path
from typing import NamedTuple

from stateward.cli.session import Session
from stateward.cli.trouble import Trouble


class Place(NamedTuple):
    """Where a log is; `url` is empty if it is in the directory."""

    directory: Path
    url: str = ""

    @property
    def shown(self) -> str:
        """Without credentials, for people."""
        if not self.url:
            return str(self.directory)
        from adapters.postgres.server import Server  # noqa: PLC0415 -- only with a database

        return Server(self.url).shown


def found_log(
    at: Session,
    directory: Path | None,
    data: Path | None = None,
    log: str = "",
    config: Path | None = None,
) -> Place:
    """The log that is meant: a directory that is named, else what flags and settings say.

    Raises:
        Trouble: the settings cannot be used.
    """
    if directory is not None:
        return Place(directory.absolute())
    if data is not None and log:
        return Place(data.absolute(), log)
    from stateward.layers import BadSettings, load  # noqa: PLC0415 -- pydantic takes its time

    given: dict[str, dict[str, object]] = {}
    if data is not None:
        given["data"] = {"directory": data.absolute()}
    if log:
        given["log"] = {"url": log}
    try:
        settings = load(at.environment, flags=given, config=config)
    except BadSettings as error:
        raise Trouble(str(error)) from None
    return Place(settings.data.directory, settings.log.url.reveal() if settings.log.url else "")
