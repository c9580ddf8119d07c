"""Contexts: where a command finds its server, its token and its project."""

import stat

from stateward.cli import contexts
from tests.support.command_line import CommandLine
from tests.support.surroundings import surroundings


def test_the_file_of_contexts_belongs_to_its_owner_alone(cli: CommandLine) -> None:
    cli.ok("context", "set", "prod", "--server", "https://prod", "--token-stdin", given="s3cret\n")
    file = cli.home / ".config/stateward/client.yaml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    file.chmod(0o644)
    cli.ok("context", "set", "prod", "-n", "shop")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["client.yaml"]


def test_contexts_are_listed_without_their_tokens(cli: CommandLine) -> None:
    cli.ok("context", "set", "prod", "--server", "https://prod", "--token-stdin", given="s3cret\n")
    cli.ok("context", "set", "lab", "--server", "http://lab:1", "-n", "shop")
    cli.ok("context", "use", "lab")
    said = cli.ok("context", "list")
    assert said == (
        "    NAME   SERVER         PROJECT   TOKEN\n"
        "    prod   https://prod   -         here\n"
        "*   lab    http://lab:1   shop      -\n"
    )
    assert "s3cret" not in said + cli.ok("context", "list", "-o", "json")
    cli.ok("context", "delete", "lab")
    assert "it has prod" in cli.fails("context", "use", "lab", code=2)


def test_the_chosen_context_is_spoken_to(cli: CommandLine) -> None:
    url, token = cli.url, cli.house.admin
    cli.variables.clear()
    token_file = cli.write("token-of-house", f"{token}\n")
    cli.ok("context", "set", "house", "--server", url, "--token-file", token_file, "-n", "shop")
    cli.ok("context", "set", "gone", "--server", "http://127.0.0.1:9")
    assert cli.ok("get", "projects", "-o", "name") == "project/shop\n"
    assert "(from context gone)" in cli.fails("--context", "gone", "get", "projects", code=3)
    assert "(from --server)" in cli.fails("--server", "http://127.0.0.1:9", "get", "apps", code=3)


def test_the_token_of_a_context_is_sent_to_no_other_server(cli: CommandLine) -> None:
    cli.ok("context", "set", "prod", "--server", "https://prod/", "--token-stdin", given="s3cret")
    environment = surroundings(cli.home)
    assert contexts.connection(environment).token is not None
    assert contexts.connection(environment, server="https://other").token is None
    local = surroundings(cli.home, STATEWARD_SERVER="http://127.0.0.1:1")
    assert contexts.connection(local).token is None


def test_the_environment_wins_over_the_context(cli: CommandLine) -> None:
    cli.ok("context", "set", "gone", "--server", "http://127.0.0.1:9", "-n", "none")
    assert cli.ok("get", "projects", "-o", "name") == "project/shop\n"


def test_with_nothing_configured_it_is_the_control_plane_of_this_machine(cli: CommandLine) -> None:
    environment = surroundings(cli.home)
    found = contexts.connection(environment)
    assert (found.server, found.token, found.origin) == (contexts.LOCAL_SERVER, None, "the default")
    place = environment.data_directory / "token"
    place.parent.mkdir(parents=True)
    place.write_text("t0ken\n")
    token = contexts.connection(environment).token
    assert token is not None
    assert token.reveal() == "t0ken"
    elsewhere = contexts.connection(environment, server="http://elsewhere")
    assert elsewhere.token is None, "the token of this machine is nobody else's business"


def test_a_server_that_does_not_answer_is_named_with_what_to_do(cli: CommandLine) -> None:
    cli.variables["STATEWARD_SERVER"] = "http://127.0.0.1:9"
    said = cli.fails("get", "apps", code=3)
    assert "no server answers at http://127.0.0.1:9 (from STATEWARD_SERVER)" in said
    assert "stateward serve" in said
    assert "stateward context set" in said
    cli.variables["STATEWARD_SERVER"] = "127.0.0.1:9"
    assert "write http://HOST:PORT" in cli.fails("get", "apps", code=2)


def test_a_broken_file_of_contexts_is_named(cli: CommandLine) -> None:
    file = cli.write(".config/stateward/client.yaml", "contexts: [")
    assert f"{file}:2:1" in cli.fails("context", "list")
    cli.write(".config/stateward/client.yaml", "contexts: {a: {sever: x}}")
    assert "has no field 'sever'" in cli.fails("get", "apps")
    cli.write(".config/stateward/client.yaml", "contexts: {a: {server: http://x}}")
    assert "there is no context 'b'" in cli.fails("--context", "b", "get", "apps", code=2)
