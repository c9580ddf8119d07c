"""Settings: which layer wins, and what is refused."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.secret import SecretText
from stateward.layers import BadSettings, load
from stateward.settings import SECTIONS
from tests.support.surroundings import surroundings

PORTS = st.none() | st.integers(0, 65535)


@given(flag=PORTS, variable=PORTS, user=PORTS, system=PORTS, named=PORTS)
def test_the_first_layer_that_says_something_wins(
    flag: int | None, variable: int | None, user: int | None, system: int | None, named: int | None
) -> None:
    with tempfile.TemporaryDirectory() as home:
        variables = {} if variable is None else {"STATEWARD_API__PORT": str(variable)}
        environment = surroundings(Path(home), **variables)
        config = Path(home, "named.yaml")
        for path, port in (
            (environment.user_config, user),
            (environment.system_config, system),
            (config, named),
        ):
            if port is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"api:\n  port: {port}\n")
        settings = load(
            environment,
            flags={} if flag is None else {"api": {"port": flag}},
            config=None if named is None else config,
        )
    file = next((port for port in (named, user, system) if port is not None), None)
    expected = next((port for port in (flag, variable, file) if port is not None), 7440)
    assert settings.api.port == expected


def test_layers_fill_each_other_field_by_field(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("api:\n  host: 0.0.0.0\n  port: 1\nreplay: {interval: 1m}\n")
    environment = surroundings(tmp_path, STATEWARD_API__PORT="2")
    settings = load(environment, flags={"replay": {"jitter": 0.2}}, config=config)
    assert (settings.api.host, settings.api.port) == ("0.0.0.0", 2)
    assert (settings.replay.interval, settings.replay.jitter) == (60.0, 0.2)


@pytest.mark.parametrize(
    ("variables", "file", "said"),
    [
        ({}, "api:\n  prot: 1", "c.yaml:2:3: there is no setting api.prot; did you mean 'port'?"),
        ({}, "appi: {port: 1}", "c.yaml:1:1: there is no section 'appi'; did you mean 'api'?"),
        (
            {"STATEWARD_API__PROT": "1"},
            "",
            "STATEWARD_API__PROT: there is no setting api.prot; did you mean 'port'?",
        ),
        ({"STATEWARD_LOGING__LEVEL": "info"}, "", "did you mean 'logging'?"),
        ({}, "api: 1", "c.yaml:1:1: api: a section has fields"),
        ({}, "- api", "settings are sections: api, data"),
        ({}, "api: {port: 1}\n---\napi: {port: 2}", "c.yaml:3: settings are one document"),
        ({}, "api: [", "c.yaml:2:1: while parsing a flow node did"),
        ({}, "replay:\n  interval: 10", "c.yaml:2:3: replay.interval: a bare number has no unit"),
        ({"STATEWARD_API__PORT": "99999"}, "", "STATEWARD_API__PORT: api.port: input should be"),
        ({}, "nats: {servers: ['http://x']}", "nats.servers"),
        ({}, "nats: {servers: 1}", "nats.servers"),
        ({}, "nats: {user: x, servers: nats://x}", "user and password go together"),
        ({}, "nats: {tls_key: x, servers: tls://x}", "tls_certificate and tls_key go together"),
        ({}, "nats: {tls_ca: x}", "TLS are for external servers; give servers"),
        ({}, "nats: {replicas: 3}", "the embedded server is one: give the servers of a cluster"),
        ({}, "nats: {embedded: false}", "give servers"),
        ({}, "engine: {default: dokcer}", "'auto', 'docker', 'k8s', 'process' or 'simulated'"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_with_its_place(
    tmp_path: Path, variables: dict[str, str], file: str, said: str
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(file)
    with pytest.raises(BadSettings) as refused:
        load(surroundings(tmp_path, **variables), config=config)
    assert said in str(refused.value)


def test_a_flag_that_names_no_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"flag api\.prot: .* mean 'port'"):
        load(surroundings(tmp_path), flags={"api": {"prot": 1}})


def test_a_named_file_that_is_missing_is_an_error_and_an_unnamed_one_is_not(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="cannot be read: No such file"):
        load(surroundings(tmp_path), config=tmp_path / "none.yaml")
    assert load(surroundings(tmp_path)).api.port == 7440


def test_a_login_that_believes_everybody_is_for_loopback(tmp_path: Path) -> None:
    flags: dict[str, dict[str, object]] = {"login": {"developers": True}}
    assert not load(surroundings(tmp_path)).login.developers
    assert load(surroundings(tmp_path), flags=flags).login.developers
    with pytest.raises(BadSettings, match=r"login\.developers lets anybody be anybody"):
        load(surroundings(tmp_path, STATEWARD_API__HOST="0.0.0.0"), flags=flags)


def test_a_secret_shows_nowhere(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("nats: {servers: 'nats://bus', user: me, password: hunter2}")
    settings = load(surroundings(tmp_path), config=config)
    assert settings.nats.password == SecretText("hunter2")
    assert "hunter2" not in repr(settings)
    config.write_text("nats: {servers: 'nats://bus', token: [hunter2]}")
    with pytest.raises(BadSettings) as refused:
        load(surroundings(tmp_path), config=config)
    assert "hunter2" not in str(refused.value)


def test_what_kubernetes_sets_for_a_service_of_the_same_name_is_left_alone(tmp_path: Path) -> None:
    environment = surroundings(tmp_path, STATEWARD_PORT="tcp://10.0.0.1:80", STATEWARD_TOKEN="x")
    assert load(environment).api.port == 7440


def test_data_is_kept_where_the_user_may_write(tmp_path: Path) -> None:
    at = {"XDG_STATE_HOME": str(tmp_path / "state")}
    assert load(surroundings(tmp_path)).data.directory == tmp_path / ".local/state/stateward"
    assert load(surroundings(tmp_path, **at)).data.directory == tmp_path / "state/stateward"
    assert load(replace(surroundings(tmp_path), is_root=True)).data.directory == Path(
        "/var/lib/stateward"
    )


def test_an_external_server_takes_the_place_of_the_embedded_one(tmp_path: Path) -> None:
    def nats(**variables: str) -> bool:
        return load(surroundings(tmp_path, **variables)).nats.starts_server

    assert nats()
    assert not nats(STATEWARD_NATS__SERVERS="nats://bus:4222")
    assert not nats(STATEWARD_NATS__ENABLED="false")


def test_several_servers_are_given_by_commas_by_a_list_or_one_by_one(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("nats:\n  servers:\n  - nats://a:1\n  - tls://b:2\n")
    both = ("nats://a:1", "tls://b:2")
    assert load(surroundings(tmp_path), config=config).nats.servers == both
    variables = {"STATEWARD_NATS__SERVERS": "nats://a:1, tls://b:2"}
    assert load(surroundings(tmp_path, **variables)).nats.servers == both
    flags = {"nats": {"servers": ["nats://a:1", "tls://b:2"]}}
    assert load(surroundings(tmp_path), flags=flags).nats.servers == both
    flags = {"nats": {"servers": ["nats://a:1,tls://b:2"]}}
    assert load(surroundings(tmp_path), flags=flags).nats.servers == both


def test_every_section_is_frozen_and_has_a_default_for_every_field_but_the_data_directory() -> None:
    for section, model in SECTIONS.items():
        assert model.model_config["frozen"], section
        needed = [name for name, field in model.model_fields.items() if field.is_required()]
        assert needed == (["directory"] if section == "data" else [])
