"""secret and token: values come in by every way, and go out by none."""

import pytest

from tests.support.command_line import CommandLine


def test_values_come_from_arguments_files_and_standard_input(cli: CommandLine) -> None:
    file = cli.write("cert.pem", "from-file")
    words = ["secret", "set", "db", "user=me", "pw=-", "--from-file", f"tls={file}"]
    result = cli.run(*words, "--from-file", file, given="from-stdin")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("secret/db created (position ")
    assert cli.json("get", "secret/db")["spec"]["keys"] == ["cert.pem", "pw", "tls", "user"]
    for value in ("from-file", "from-stdin"):
        assert value not in result.output + cli.ok("describe", "secret/db") + cli.ok("events")
        assert all(value.encode() not in event.data for event in cli.house.log.events)


def test_setting_some_keys_never_drops_the_others_by_accident(cli: CommandLine) -> None:
    cli.ok("secret", "set", "db", "user=me", "pw=1")
    assert "secret/db also holds user" in cli.fails("secret", "set", "db", "pw=2", code=2)
    assert "configured" in cli.ok("secret", "set", "db", "pw=2", "--replace")
    assert cli.json("get", "secret/db")["spec"] == {"keys": ["pw"], "version": 2}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "give at least one value"),
        (["pw"], 2, "nobody is there to type pw"),
        (["=hunter2"], 2, "a value here had no key"),
        (["--from-file", "tls=none.pem"], 1, "none.pem cannot be read"),
    ],
)
def test_a_value_that_is_missing_is_named_and_none_is_shown(
    cli: CommandLine, words: list[str], code: int, said: str
) -> None:
    message = cli.fails("secret", "set", "db", *words, code=code)
    assert said in message
    assert "hunter2" not in message


def test_a_value_may_be_refused_without_being_shown(cli: CommandLine) -> None:
    file = cli.write("big", "hunter2" * 20_000)
    assert "at most 64 KiB" in cli.fails("secret", "set", "db", "--from-file", f"k={file}")


def test_secrets_are_listed_and_deleted(cli: CommandLine) -> None:
    cli.ok("secret", "set", "db", "user=me")
    assert cli.ok("secret", "list").splitlines()[1].split() == ["db", "shop", "user", "1"]
    assert "secret/db deleted" in cli.ok("secret", "delete", "db")
    assert "does not exist" in cli.fails("secret", "delete", "db")


def test_a_token_is_shown_once_and_works_until_revoked(cli: CommandLine) -> None:
    made = cli.ok("token", "create", "ci", "--role", "editor", "-n", "shop", "--expires", "24h")
    text = made.strip()
    assert len(text.split()) == 1
    listed = cli.ok("token", "list")
    assert listed.splitlines()[2].split()[:4] == ["ci", "user:ci", "editor", "shop"]
    assert text not in listed
    admin, cli.variables["STATEWARD_TOKEN"] = cli.variables["STATEWARD_TOKEN"], text
    cli.ok("secret", "set", "db", "a=b")
    assert "user:ci may not" in cli.fails("delete", "target/local")
    cli.variables["STATEWARD_TOKEN"] = admin
    assert cli.ok("token", "revoke", "ci") == "token ci is revoked\n"
    cli.variables["STATEWARD_TOKEN"] = text
    assert "not accepted" in cli.fails("get", "apps")


def test_the_last_admin_token_stays(cli: CommandLine) -> None:
    assert "make another admin token first" in cli.fails("token", "revoke", "admin")
