"""Echo backend: answers every request with 200 and the received headers, as JSON.

python -m authz.cli.echo PORT [ADDRESS]     ADDRESS defaults to 127.0.0.1
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Echo(BaseHTTPRequestHandler):
    """Handler that answers every method with 200 and the request as JSON: method, path, headers.

    HEAD gets no body. Request bodies are read and discarded.
    """

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # send head and body together: a separate body waits for a delayed ACK

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        seen = {name.lower(): value for name, value in self.headers.items()}
        shown = {"method": self.command, "path": self.path, "headers": seen}
        body = json.dumps(shown, indent=2).encode() + b"\n"
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
        """Log nothing: the proxy has the access log."""


if __name__ == "__main__":
    port, address = int(sys.argv[1]), (sys.argv[2:] or ["127.0.0.1"])[0]
    ThreadingHTTPServer((address, port), Echo).serve_forever()
