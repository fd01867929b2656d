"""Stand-in for LLM APIs: answers as OpenAI, Anthropic and Gemini do, with known token counts.

python -m authz.cli.llm_backend PORT [ADDRESS]     ADDRESS defaults to 127.0.0.1

Its paths are /v1/chat/completions, /v1/responses, /v1/embeddings, /v1/messages and
/v1beta/models/MODEL:generateContent and :streamGenerateContent. See llm_answers.py for the counts.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from authz.cli import llm_answers as answers

MOST_BYTES: Final = 4_194_304
GEMINI: Final = re.compile(
    r"/v1(?:beta)?/models/([A-Za-z0-9._-]{1,128}):(generateContent|streamGenerateContent)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Response:
    """Status, content type and the parts of a body, which are sent one after the other."""

    status: int
    kind: str
    parts: Iterable[str]


def _whole(document: Any, status: int = 200) -> Response:
    return Response(status, "application/json", [json.dumps(document) + "\n"])


def _events(events: Iterable[answers.Event], *, named: bool = False, end: str = "") -> Response:
    """Return server-sent events. named: each has its type as a name. end: text after them."""

    def parts() -> Iterator[str]:
        for number, event in enumerate(events):
            name = f"event: {event['type']}\n" if named else ""
            numbered = {"sequence_number": number} | event if named else event
            yield f"{name}data: {json.dumps(numbered)}\n\n"
        if end:
            yield end

    return Response(200, "text/event-stream", parts())


def _chat(model: str, body: answers.Body) -> Response:
    most = body.get("max_completion_tokens", body.get("max_tokens"))
    one = answers.reply(model, body.get("messages"), most)
    if not body.get("stream"):
        return _whole(answers.chat(one))
    options = body.get("stream_options")
    with_usage = isinstance(options, dict) and options.get("include_usage") is True
    return _events(answers.chat_events(one, with_usage=with_usage), end="data: [DONE]\n\n")


def _response(model: str, body: answers.Body) -> Response:
    one = answers.reply(model, body.get("input"), body.get("max_output_tokens"))
    if body.get("stream"):
        return _events(answers.response_events(one), named=True)
    return _whole(answers.response(one))


def _embeddings(model: str, body: answers.Body) -> Response:
    return _whole(answers.embeddings(model, body))


def _message(model: str, body: answers.Body) -> Response:
    one = answers.reply(model, [body.get("system"), body.get("messages")], body.get("max_tokens"))
    if body.get("stream"):
        return _events(answers.message_events(one), named=True)
    return _whole(answers.message(one))


def _content(model: str, body: answers.Body, query: str, *, is_stream: bool) -> Response:
    config = body.get("generationConfig")
    most = config.get("maxOutputTokens") if isinstance(config, dict) else None
    one = answers.reply(model, body.get("contents"), most)
    if not is_stream:
        return _whole(answers.content(one))
    if parse_qs(query).get("alt") == ["sse"]:
        return _events(answers.content_events(one))
    listed = enumerate(answers.content_events(one))
    parts = (f"{',' if at else '['}{json.dumps(part)}\r\n" for at, part in listed)
    return Response(200, "application/json", (part for each in (parts, ["]"]) for part in each))


BY_BODY: Final[dict[str, Callable[[str, answers.Body], Response]]] = {
    "/v1/chat/completions": _chat,
    "/v1/responses": _response,
    "/v1/embeddings": _embeddings,
    "/v1/messages": _message,
}


def respond(path: str, body: bytes) -> Response:
    """Return the response to a POST. 404 for another path, 400 for a body that is no request."""
    target = urlsplit(path)
    try:
        request = json.loads(body)
    except ValueError:
        request = None
    if not isinstance(request, dict):
        return _refusal(400, "the body is not a JSON object")
    if match := GEMINI.fullmatch(target.path):
        return _content(match[1], request, target.query, is_stream=match[2][0] == "s")
    if target.path not in BY_BODY:
        return _refusal(404, "no such path")
    model = request.get("model")
    if not isinstance(model, str) or not model:
        return _refusal(400, "model is missing")
    return BY_BODY[target.path](model, request)


def _refusal(status: int, text: str) -> Response:
    return _whole({"error": {"type": "invalid_request_error", "message": text}}, status)


class Handler(BaseHTTPRequestHandler):
    """Handler that answers POST by `respond`, in chunks."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer one request."""
        size = int(self.headers.get("content-length") or 0)
        if size > MOST_BYTES or "transfer-encoding" in self.headers:
            self.close_connection = True
            self._send(_refusal(413, "a body with a content-length, of at most 4 MiB"))
            return
        self._send(respond(self.path, self.rfile.read(size)))

    def do_GET(self) -> None:
        """Refuse: the stand-in answers POST alone."""
        self._send(_refusal(404, "no such path"))

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        self.send_header("content-type", response.kind)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for part in response.parts:
            data = part.encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
        """Log nothing: the proxy has the access log."""


if __name__ == "__main__":
    port, address = int(sys.argv[1]), (sys.argv[2:] or ["127.0.0.1"])[0]
    ThreadingHTTPServer((address, port), Handler).serve_forever()
