"""The protected handlers as a Starlette user writes them: `python starlette_app.py PORT`."""

import sys
from urllib.parse import quote

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Host, Route, Router

ANY = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def route(path: str, name: str, methods: list[str]) -> Route:
    """Let `name` handle a path."""

    async def handle(request: Request) -> Response:
        value = quote(request.path_params.get("model", ""))
        return Response("", headers={"x-handler": name, "x-value": value})

    return Route(path, handle, methods=methods)


rest = [
    route("/public/{name}", "public", ["GET"]),
    route("/v1/models/{model}:public", "public_model", ["GET"]),
    route("/v1/models/{model}:generate", "generate", ["POST"]),
    route("/v1/models/{model}", "model", ["GET"]),
    route("/v1/models/{model}", "delete", ["DELETE"]),
    route("/admin", "admin", ANY),
    route("/admin/{rest:path}", "admin", ANY),
    route("/files", "files", ["GET"]),
    route("/files/{rest:path}", "files", ["GET"]),
    route("/reports/{year}-{month}", "reports", ["GET"]),
    route("/café/{id}", "cafe", ["GET"]),
    route("/plain text", "plain", ["GET"]),
]
app = Starlette(
    routes=[
        Host("api.example.com", Router([route("/tenant/{name}", "tenant", ANY), *rest]), "tenant"),
        *rest,
    ]
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False)
