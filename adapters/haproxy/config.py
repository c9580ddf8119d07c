"""The configuration that a running HAProxy never needs to load again; pure.

It asks the map which row fits, and knows of the table only what no map can say (`Shape`): how
many backends there are, and the names of headers that rows look at or set. Only when one of these
is new, HAProxy is loaded again.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from adapters.haproxy import asking
from adapters.haproxy.limits import DEEPEST
from adapters.haproxy.matching import REDIRECT, SETS_REQUEST, SETS_RESPONSE, UNSERVED, marked
from adapters.haproxy.settings import (
    CERTIFICATES,
    KEEP_ALIVE_SECONDS,
    MAP,
    HAProxySettings,
)
from projections.route_table import Row

_UNKNOWN: Final = (
    "503 Service Unavailable",
    "This address is for users who signed in, but nobody answers who you are. Try again soon.",
)
_BUFFER: Final = 32_768  # bytes: the headers of a request are one buffer, long cookies among them
_ITSELF: Final = "forwarded|x[-_]real[-_]ip|x[-_]forwarded[-_].*"
MISSING: Final = "none"  # the backend of requests whose row names one that does not exist


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What of a table is in the configuration. All of it only grows.

    `socket` counts how often the socket for commands had to be made anew: HAProxy hands it from
    worker to worker, so one whose name was removed comes back only under another.
    """

    socket: int = 0
    contexts: tuple[str, ...] = ()
    request_headers: tuple[str, ...] = ()
    response_headers: tuple[str, ...] = ()

    def covering(self, rows: Iterable[Row], contexts: Iterable[str] = ()) -> "Shape":
        """Return a shape for these rows and contexts also: itself, when it is one already."""
        rows = tuple(rows)
        named = (row.context.name for row in rows if row.context)
        return Shape(
            socket=self.socket,
            contexts=_with(self.contexts, (*contexts, *named)),
            request_headers=_with(
                self.request_headers, (one.name for row in rows for one in row.request_headers)
            ),
            response_headers=_with(
                self.response_headers, (one.name for row in rows for one in row.response_headers)
            ),
        )

    @property
    def socket_name(self) -> str:
        return f"admin-{self.socket}.sock"

    @property
    def asking_name(self) -> str:
        """The socket through which is asked who a user is."""
        return f"ask-{self.socket}.sock"


def _with(known: Sequence[str], wanted: Iterable[str]) -> tuple[str, ...]:
    return (*known, *sorted(set(wanted).difference(known)))


def configuration(settings: HAProxySettings, shape: Shape) -> str:
    """Return the text of the configuration, without the pool of backends."""
    sections: dict[str, Iterable[str]] = {
        "global": _global(settings, shape),
        "defaults": _defaults(),
        "frontend web": _frontend(settings, shape),
        f"backend {MISSING}": (),
    }
    if settings.verify:
        sections[asking.LISTENER] = asking.listener(
            settings.verify, shape.asking_name, settings.user
        )
    return laid_out(sections)


def laid_out(sections: Mapping[str, Iterable[str]]) -> str:
    """Return sections of a configuration, by their heads, as text."""
    return "\n".join(
        "".join((f"{section}\n", *(f"  {line}\n" for line in lines)))
        for section, lines in sections.items()
    )


def _global(settings: HAProxySettings, shape: Shape) -> Iterator[str]:
    yield f"stats socket unix@{shape.socket_name} mode 600 level admin expose-fd listeners"
    yield "stats timeout 1m"
    yield "expose-experimental-directives"  # as 2.6 has it, `normalize-uri` is one
    yield "hard-stop-after 24h"  # what a former worker still serves: streams, WebSockets
    yield "fd-hard-limit 100000"
    yield "ssl-default-bind-options ssl-min-ver TLSv1.2"
    yield f"tune.bufsize {_BUFFER}"
    if settings.user:
        yield f"user {settings.user}"
    if settings.verify:
        yield from asking.loading()


def _defaults() -> Iterator[str]:
    yield "mode http"
    yield "timeout connect 2s"
    yield "timeout http-request 10s"
    yield f"timeout http-keep-alive {KEEP_ALIVE_SECONDS}s"
    yield "timeout client 1h"
    yield "timeout server 1h"
    yield "timeout tunnel 24h"
    yield "retries 3"
    yield "option redispatch 1"
    yield "option idle-close-on-response"  # a reload closes no connection that is about to be used
    yield "balance roundrobin"
    yield (
        "http-error "
        + _said(
            "503 Service Unavailable",
            "At the moment no healthy replica answers for this address.",
        )
    )


def _frontend(settings: HAProxySettings, shape: Shape) -> Iterator[str]:
    for address in settings.http:
        yield f"bind {address}"
    for address in settings.https:
        yield f"bind {address} ssl crt-list {CERTIFICATES} strict-sni alpn h2,http/1.1"
    yield from _matching(shape)
    yield from asking.guard()
    yield from _answers(settings)
    yield from _request(settings, shape)
    yield from _response(shape)
    yield "use_backend %[var(txn.row),field(2,:)]"
    yield f"default_backend {MISSING}"


def _matching(shape: Shape) -> Iterator[str]:
    """Set `txn.row` to the entry that fits and has the highest precedence."""
    yield "http-request set-var(txn.host) req.hdr(host),host_only,lower,rtrim(.)"
    yield "http-request set-var(txn.path) path,regsub(%2[fF],%252F,g),url_dec"
    yield "http-request set-var(txn.scheme) str(http)"
    yield "http-request set-var(txn.scheme) str(https) if { ssl_fc }"
    yield (
        "http-request set-var(txn.place) "
        "var(txn.scheme),concat(://,txn.host),concat(,txn.path,/),url_enc"
    )
    yield "http-request set-var(txn.best) int(-1)"
    yield f"http-request set-var(txn.found) var(txn.place),map_beg({MAP})"
    yield from _take_found()
    for name in shape.contexts:
        header = f"{{ req.fhdr({name}) -m found }}"
        yield f"http-request set-var(txn.value) req.fhdr({name},1),url_enc if {header}"
        yield (
            f"http-request set-var(txn.found) str({name}=),concat(,txn.value,@),"
            f"concat(,txn.place),map_beg({MAP}) if {header}"
        )
        yield from _take_found()


def _take_found() -> Iterator[str]:
    yield (
        "http-request set-var(txn.row) var(txn.found) "
        "if { var(txn.found),field(1,:),sub(txn.best) gt 0 }"
    )
    yield "http-request set-var(txn.best) var(txn.row),field(1,:) if { var(txn.row) -m found }"


def _answers(settings: HAProxySettings) -> Iterator[str]:
    """Answer what no backend is asked for."""
    missing = _said("404 Not Found", "Nothing is served at this address.")
    yield f"http-request return {missing} unless {{ var(txn.row) -m found }}"
    unserved = _said("501 Not Implemented", "This router cannot serve this route as it is defined.")
    yield f"http-request return {unserved} if {marked(UNSERVED)}"
    number = settings.https[0].rpartition(":")[2] if settings.https else "443"
    port = "" if number == "443" else f":{number}"
    yield (
        f"http-request redirect location https://%[var(txn.host)]{port}%[pathq] code 308 "
        f"if {marked(REDIRECT)}"
    )


def _request(settings: HAProxySettings, shape: Shape) -> Iterator[str]:
    spelt = settings.identity_header.lower().replace("-", "[-_]")
    yield f"http-request del-header ^({_ITSELF}|{spelt})$ -m reg"
    yield "http-request set-header X-Forwarded-For %[src]"
    yield "http-request set-header X-Forwarded-Proto %[var(txn.scheme)]"
    yield "http-request set-header X-Forwarded-Host %[req.hdr(host)]"
    if settings.verify:
        yield from asking.questions(settings.verify, shape.asking_name, settings.identity_header)
    yield from asking.answers(settings.identity_header, _said(*_UNKNOWN))
    yield from _headers("http-request", SETS_REQUEST, shape.request_headers)
    for depth in range(1, DEEPEST + 1):
        yield (
            f"http-request set-path /%[path,field({depth + 2},/,0)] "
            f"if {{ var(txn.row),field(3,:) -m int {depth} }}"
        )


def _response(shape: Shape) -> Iterator[str]:
    yield from _headers("http-response", SETS_RESPONSE, shape.response_headers)


def _headers(when: str, mark: str, names: Iterable[str]) -> Iterator[str]:
    """Set each header for which the row has a value; an empty one takes the header away."""
    for at, name in enumerate(names):
        if at == 0:
            yield f"{when} set-var(txn.id) var(txn.row),field(5,:,0)"
        entry = f"str(@),concat(,txn.id,@{mark}@{name}),map_str({MAP})"
        yield f"{when} set-var(txn.{mark}{at}) {entry} if {marked(mark)}"
        value = f"var(txn.{mark}{at})"
        yield f"{when} del-header {name} if {{ {value} -m str = }}"
        yield (
            f"{when} set-header {name} %[{value},bytes(1)] if {{ {value} -m found }} "
            f"!{{ {value} -m str = }}"
        )


def _said(title: str, sentence: str) -> str:
    """Return a status, and the page that goes with it as a quoted word of the configuration."""
    page = f"<!doctype html><title>{title}</title><h1>{title}</h1><p>{sentence}</p>"
    return f"status {title[:3]} content-type \"text/html; charset=utf-8\" lf-string '{page}'"
