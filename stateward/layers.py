"""The layers of settings, put together: flag > environment > file > default.

The file is the one named by `--config`, else the user's own, else `/etc/stateward/config.yaml`.
A name that does not exist is refused with the nearest one that does, in every layer, and every
refusal says where the value stands.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from gateway.documents import BadDocument, Document, read_file
from stateward.environment import PREFIX, Environment
from stateward.settings import SECTIONS, Settings

type Given = Mapping[str, Mapping[str, object]]
"""Values by section and field."""


class BadSettings(Exception):
    """A setting cannot be used. The message names it, where it stands, and what to write."""


def load(
    environment: Environment, *, flags: Given | None = None, config: Path | None = None
) -> Settings:
    """Put the layers together.

    Args:
        environment: of the process.
        flags: values from the command line; they win.
        config: the file to read; it must exist. None: the user's, else the system's, if any.

    Raises:
        BadSettings: names the setting, where it stands, and what it may be.
    """
    given = _Given(flags or {}, environment.settings, _file(environment, config))
    for place, section, name in given.names():
        _check_name(place, section, name)
    default = {"data": {"directory": environment.data_directory}}

    class Layers(Settings, BaseSettings):
        model_config = SettingsConfigDict(  # type: ignore[mutable-override]  # a wider dict
            env_prefix=PREFIX, env_nested_delimiter="__"
        )

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            del env_settings, dotenv_settings, file_secret_settings  # nothing from outside
            return (
                init_settings,
                _Variables(settings_cls, given.variables),
                InitSettingsSource(settings_cls, init_kwargs=given.in_file),
                InitSettingsSource(settings_cls, init_kwargs=default),
            )

    values: dict[str, Any] = {section: dict(fields) for section, fields in given.flags.items()}
    try:
        layers = Layers(**values)
    except ValidationError as error:
        raise BadSettings(_reason(error, given)) from None
    return Settings.model_construct(**{name: getattr(layers, name) for name in SECTIONS})


class _Variables(EnvSettingsSource):
    """The environment that was handed over, not the one of the process."""

    def __init__(self, settings_cls: type[BaseSettings], variables: Mapping[str, str]) -> None:
        self._given = {name.lower(): text for name, text in variables.items()}
        super().__init__(settings_cls)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._given


class _Given(NamedTuple):
    """What each layer says, and where."""

    flags: Given
    variables: Mapping[str, str]
    file: Document | None

    @property
    def in_file(self) -> dict[str, Any]:
        return self.file.value if self.file else {}

    def names(self) -> Iterator[tuple[str, str, str | None]]:
        """Every place with the section and field it names."""
        for section, fields in self.flags.items():
            for name in fields:
                yield f"flag {section}.{name}", section, name
        for variable in self.variables:
            section, _, name = variable[len(PREFIX) :].lower().partition("__")
            yield f"environment {variable}", section, name
        for section, fields in self.in_file.items():
            yield self._place_in_file(section), section, None
            if not isinstance(fields, dict):
                rule = "a section has fields, each on a line of its own below it"
                raise BadSettings(f"{self._place_in_file(section)}: {section}: {rule}")
            for name in fields:
                yield self._place_in_file(section, name), section, name

    def place(self, section: str, name: str) -> str:
        """Where the value that counts stands."""
        if name in self.flags.get(section, {}):
            return f"flag {section}.{name}"
        variable = f"{PREFIX}{section}__{name}".upper()
        if any(given.upper() == variable for given in self.variables):
            return f"environment {variable}"
        return self._place_in_file(section, name) if self.file else "settings"

    def section_place(self, section: str) -> str:
        """Where a section stands: its values may come from several layers, so name the file."""
        return self._place_in_file(section) if section in self.in_file else "settings"

    def _place_in_file(self, *way: str) -> str:
        return self.file.place(way) if self.file else "settings"


def _file(environment: Environment, config: Path | None) -> Document | None:
    """The one configuration file, or None when there is none or it is empty."""
    if config is None:
        known = (environment.user_config, environment.system_config)
        config = next((path for path in known if path.is_file()), None)
    if config is None:
        return None
    try:
        found = read_file(config)
    except BadDocument as error:
        raise BadSettings(str(error)) from None
    except OSError as error:
        raise BadSettings(f"{config} cannot be read: {error.strerror}") from error
    if len(found) > 1:
        raise BadSettings(f"{found[1].place()}: settings are one document, and here starts another")
    if found and not isinstance(found[0].value, dict):
        raise BadSettings(f"{found[0].place()}: settings are sections: {', '.join(SECTIONS)}")
    return found[0] if found else None


def _check_name(place: str, section: str, name: str | None) -> None:
    model = SECTIONS.get(section)
    if model is None:
        raise BadSettings(
            f"{place}: there is no section {section!r}; {_nearest(section, SECTIONS)}"
        )
    if name is not None and name not in model.model_fields:
        hint = _nearest(name, model.model_fields)
        raise BadSettings(f"{place}: there is no setting {section}.{name}; {hint}")


def _nearest(name: str, known: Mapping[str, object]) -> str:
    close = get_close_matches(name.lower().replace("-", "_"), list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"


def _reason(error: ValidationError, given: _Given) -> str:
    """The first fault, in one sentence that shows no value: it might be a secret."""
    fault = error.errors(include_url=False, include_input=False)[0]
    way = [str(part) for part in fault["loc"] if part != "function-after"]
    rule = fault["msg"].removeprefix("Value error, ")
    rule = rule[:1].lower() + rule[1:]
    if len(way) < 2:
        place = given.section_place(way[0]) if way else "settings"
        return f"{place}: {'.'.join(way)}: {rule}"
    return f"{given.place(way[0], way[1])}: {way[0]}.{way[1]}: {rule}"
