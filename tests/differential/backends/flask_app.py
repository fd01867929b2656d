"""The protected handlers as a Flask user writes them: `python flask_app.py PORT`."""

import logging
import sys
from urllib.parse import quote

from flask import Flask, Response
from werkzeug.serving import WSGIRequestHandler, run_simple

ANY = ["GET", "POST", "PUT", "PATCH", "DELETE"]
HOST = "api.example.com"

app = Flask("differential", host_matching=True, static_folder=None)


def route(path: str, name: str, methods: list[str], host: str = "<_host>") -> None:
    """Let `name` handle a path."""

    def handle(**values: str) -> Response:
        headers = {"x-handler": name, "x-value": quote(values.get("model", ""))}
        return Response("", headers=headers)

    app.add_url_rule(path, f"{name} {path} {host}", handle, host=host, methods=methods)


route("/public/<name>", "public", ["GET"])
route("/v1/models/<model>:public", "public_model", ["GET"])
route("/v1/models/<model>:generate", "generate", ["POST"])
route("/v1/models/<model>", "model", ["GET"])
route("/v1/models/<model>", "delete", ["DELETE"])
for path in ("/admin", "/admin/", "/admin/<path:rest>"):
    route(path, "admin", ANY)
for path in ("/files", "/files/", "/files/<path:rest>"):
    route(path, "files", ["GET"])
route("/reports/<year>-<month>", "reports", ["GET"])
route("/tenant/<name>", "tenant", ANY, HOST)
route("/café/<id>", "cafe", ["GET"])
route("/plain text", "plain", ["GET"])


class Handler(WSGIRequestHandler):
    """Keeps connections."""

    protocol_version = "HTTP/1.1"


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    run_simple("127.0.0.1", int(sys.argv[1]), app, threaded=True, request_handler=Handler)
