"""An application on loopback that tells, as JSON, what it was asked; and a client that asks without more."""

import contextlib
import http.client
import http.server
import json
import threading


class Application:
    """Answers `/slow` when it is told to stop."""

    def __init__(self):
        stopped = self._stopped = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path == "/slow":
                    stopped.wait(30)
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = json.dumps({"path": self.path, "headers": self.headers.items()}).encode()
                # Who has waited too long is gone.
                with contextlib.suppress(BrokenPipeError):
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()


class Answer:
    def __init__(self, answer: http.client.HTTPResponse):
        self.status = answer.status
        self.headers = answer.headers
        self.text = answer.read().decode()

    def seen(self, name: str) -> list[str]:
        """What the application got in headers that it may take for this one."""
        alike = name.lower().replace("_", "-")
        return [value for other, value in json.loads(self.text)["headers"] if other.lower().replace("_", "-") == alike]


def ask(port: int, path: str, headers: dict, method: str = "GET", body: bytes | None = None, source="127.0.0.1") -> Answer:
    """One request on a connection of its own, from this address."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(source, 0))
    try:
        connection.request(method, path, body, headers)
        return Answer(connection.getresponse())
    finally:
        connection.close()
