"""What happens to a write when the network loses its answer."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from domain.secret import SecretText
from stateward.cli import streams
from stateward.cli.contexts import Connection
from stateward.cli.http import Api
from stateward.cli.trouble import Refused, Silent, Trouble, Unreachable
from tests.support.intents import NOON

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


@contextmanager
def server(*answers: bytes) -> Iterator[tuple[Connection, list[bytes]]]:
    """Gives each connection the next of `answers`, and then hangs up; keeps what was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for text in answers:
                connection, _ = listener.accept()
                with connection:
                    asked.append(connection.recv(65_536))
                    connection.sendall(text)

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        token = SecretText("t0ken")
        yield Connection(server=url, token=token, project="", origin="a test"), asked
        thread.join(20)


def test_a_write_whose_answer_got_lost_is_sent_again_under_the_same_key() -> None:
    with server(b"", b"", ANSWER) as (connection, asked):
        api = Api(connection)
        assert api.write("POST", "/x") == {}
        api.close()
    keys = {
        line for text in asked for line in text.split(b"\r\n") if b"idempotency-key" in line.lower()
    }
    assert len(asked) == 3
    assert len(keys) == 1


def test_it_is_given_up_after_a_few_times() -> None:
    with server(b"", b"", b"") as (connection, asked):
        api = Api(connection)
        with pytest.raises(Unreachable, match=r"the connection to .* broke"):
            api.write("POST", "/x")
        api.close()
    assert len(asked) == 3


def test_another_write_has_another_key() -> None:
    with server(ANSWER, ANSWER) as (connection, asked):
        api = Api(connection)
        api.write("POST", "/x")
        api.write("POST", "/x")
        api.close()
    assert asked[0] != asked[1]


@pytest.mark.parametrize("body", [b"<html>", b'"text"', b'{"error": 1}'])
def test_a_server_that_is_no_stateward_is_recognised(body: bytes) -> None:
    head = b"HTTP/1.1 404 Nope\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    with server(head + body) as (connection, _):
        api = Api(connection)
        with pytest.raises(Refused, match="answered 404, and not as a Stateward does"):
            api.get("/x")
        api.close()


def test_an_answer_that_is_no_json_is_told_in_a_sentence() -> None:
    html = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\n<html>"
    with server(html) as (connection, _):
        api = Api(connection)
        with pytest.raises(Trouble, match="not as a Stateward does"):
            api.get("/x")
        api.close()


def test_a_stream_is_taken_up_where_the_server_ended_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PAUSE", 0.0)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    first = head + b': hello\n\nretry: 1000\nid: 41\nevent: app.scaled\ndata: {"a":\ndata: 1}\n\n'
    second = head + b"id: 42\nevent: app.stopped\ndata: {}\n\n"
    with server(first, second) as (connection, asked):
        api = Api(connection)
        stream = streams.endless(api, "/events", {"last": 1})
        assert next(stream) == ("41", "app.scaled", {"a": 1})
        assert next(stream) == ("42", "app.stopped", {})
        api.close()
    assert b"last-event-id" not in asked[0].lower()
    assert b"last-event-id: 41" in asked[1].lower()


def test_silence_is_not_waited_for_for_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        api = Api(Connection(server=url, token=None, project="", origin="a test"))
        with pytest.raises(Silent, match="did not answer in time"):
            api.get("/x", timeout=0.05)
        api.close()


def test_a_token_that_cannot_be_one_is_refused_without_being_shown() -> None:
    token = SecretText("hunter2\n")
    with pytest.raises(Trouble) as refused:
        Api(Connection(server="http://x", token=token, project="", origin="a test"))
    assert "hunter2" not in str(refused.value)


def test_an_https_server_has_to_prove_who_it_is(tmp_path: Path) -> None:
    identity = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    identity.load_cert_chain(self_signed(tmp_path / "me.pem"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=greet, args=[listener, identity])
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        api = Api(Connection(server=url, token=None, project="", origin="a test"))
        with pytest.raises(Unreachable, match="certificate verify failed"):
            api.get("/x")
        api.close()
        thread.join(20)


def greet(listener: socket.socket, identity: ssl.SSLContext) -> None:
    connection, _ = listener.accept()
    with connection, suppress(ssl.SSLError, OSError):
        identity.wrap_socket(connection, server_side=True).close()


def self_signed(path: Path) -> Path:
    """A key and a certificate that nobody else vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOON.replace(year=2020))
        .not_valid_after(NOON.replace(year=2090))
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(private + certificate.public_bytes(pem))
    return path
