"""A web application to roll out: answers on `PORT`, and misbehaves as its variables say.

FAIL_HEALTH   `/healthz` answers 503
HEALTHY_AFTER seconds until `/healthz` answers 200
DIE_AFTER     seconds until it ends with code 3
GREETING      what every other path answers; `hello` by default
"""

import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BORN = time.monotonic()


def is_healthy() -> bool:
    age = time.monotonic() - BORN
    return "FAIL_HEALTH" not in os.environ and age >= float(os.environ.get("HEALTHY_AFTER", "0"))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked_health = self.path == "/healthz"
        status = 200 if not asked_health or is_healthy() else 503
        body = os.environ.get("GREETING", "hello").encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # of 5, as it is by default, 32 clients at once see some refused


def main() -> None:
    if "DIE_AFTER" in os.environ:
        death = threading.Timer(float(os.environ["DIE_AFTER"]), os._exit, (3,))
        death.daemon = True
        death.start()
    server = Server(("", int(os.environ.get("PORT", "8080"))), Handler)
    print(f"listening on {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
