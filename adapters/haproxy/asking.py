"""How HAProxy asks who a request's user is: a program in Lua, and the lines around it; pure.

The program (`ask.lua`) goes through a listener of our own, because the client of HAProxy 2.6 asks
four times and knows no limit for it: where nobody listens, a request would wait three seconds.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from adapters.haproxy.matching import ASKS_HARD, ASKS_SOFT, UNSERVED, marked
from adapters.haproxy.settings import ASKING, MAP, Verify

PROGRAM: Final = Path(__file__).with_name(ASKING).read_text()
LISTENER: Final = "listen ask"

_ACTION: Final = "stateward-ask"
_CONNECT: Final = "1s"
_ANSWER: Final = "5s"
_GUARDED: Final = "if { var(txn.is_guarded) -m bool }"


def loading() -> Iterator[str]:
    """Lines of `global`. A program of another release is another configuration."""
    yield f"# {ASKING} is {hashlib.sha256(PROGRAM.encode()).hexdigest()[:16]}"
    yield f"lua-load-per-thread {ASKING}"


def listener(verify: Verify, socket: str, user: str) -> Iterator[str]:
    """Lines of the listener that the program goes through."""
    owner = f" user {user}" if user else ""
    yield f"bind unix@{socket} mode 600{owner}"
    yield f"timeout connect {_CONNECT}"
    yield f"timeout server {_ANSWER}"
    yield "retries 0"
    yield "http-reuse never"  # or a connection that was just given up would be an answer lost
    yield f"server verify {verify.address} init-addr libc,none"


def guard() -> Iterator[str]:
    """Lines that find a guarded row by another way to write its path; after all other rows.

    Some apps take `//admin`, `/x/../admin` and `/x%2F..%2Fadmin` for `/admin`, and HAProxy's map
    does not. A row that not everybody may have gets such requests instead of the row found.
    """
    odd = "if { var(txn.odd) -m bool }"
    guarded = f"field(4,:) -m sub {ASKS_HARD} {UNSERVED}"
    yield "http-request set-var(txn.odd) bool(true) if { path -m sub // /. % }"
    yield f"http-request set-var(txn.sent) pathq {odd}"
    yield f"http-request set-path %[path,regsub(%2[fF],/,g),regsub(%2[eE],.,g)] {odd}"
    for way in ("path-merge-slashes", "path-strip-dot", "path-strip-dotdot full"):
        yield f"http-request normalize-uri {way} {odd}"
    yield f"http-request set-var(txn.plain) path {odd}"
    yield f"http-request set-pathq %[var(txn.sent)] {odd}"
    yield f"http-request set-var(txn.path) var(txn.plain),url_dec {odd}"
    yield (
        "http-request set-var(txn.guard) var(txn.scheme),concat(://,txn.host),"
        f"concat(,txn.path,/),url_enc,map_beg({MAP}) {odd}"
    )
    yield (
        f"http-request set-var(txn.is_guarded) bool(true) if {{ var(txn.guard),{guarded} }} "
        f"!{{ var(txn.row),{guarded} }}"
    )
    yield f"http-request set-var(txn.row) var(txn.guard) {_GUARDED}"


def questions(verify: Verify, socket: str, header: str) -> Iterator[str]:
    """Lines that set `txn.passes` and `txn.user` of a request whose row asks, or answer it."""
    url = f"http://{verify.address}{verify.path}"
    for auth, mark in (("soft", ASKS_SOFT), ("hard", ASKS_HARD)):
        yield (
            f"http-request lua.{_ACTION} {auth} {url} unix@{socket} {header.lower()} "
            f"if {marked(mark)}"
        )


def answers(header: str, refusal: str) -> Iterator[str]:
    """Lines after the questions, whether anything was asked or not: `refusal` when nobody knew."""
    yield f"http-request return {refusal} if {marked(ASKS_HARD)} !{{ var(txn.passes) -m bool }}"
    yield f"http-request set-header {header} %[var(txn.user)] if {{ var(txn.user) -m found }}"
    yield f"http-request set-path %[var(txn.plain)] {_GUARDED}"
