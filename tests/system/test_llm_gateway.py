"""`authz dev --llm` with the unchanged SDKs of OpenAI and Anthropic, and with Gemini."""

import asyncio
import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from authz.cli.devstack import EMBEDDING_MODEL, LLM_MODELS
from authz.core.limits.limit import parse_limits
from authz.core.usage.counts import Counts, Level
from authz.storage.endpoint import Endpoint
from authz.storage.usage.stored_usage import StoredUsage
from tests.support.system import Installation, running, until

CHAT, REASONING, CLAUDE, GEMINI = LLM_MODELS
ESTIMATE = 50  # of each route in llm.yaml
WORDS = "one two three four five six seven eight nine"
ASKED = [{"role": "user", "content": WORDS}]
FILE = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
LINE = "%DYNAMIC_METADATA(authz.usage:tokens)%\n"


class Gateway(Installation):
    """The running gateway. log: the tokens of each request, as the filter wrote them."""

    def __init__(self, stack: Any, log: Path) -> None:
        super().__init__(stack)
        self.log = log
        self.key = stack.key
        self.lines = 0
        self.clients = ExitStack()

    def openai(self, key: str = "", **settings: Any) -> openai.OpenAI:
        """Return the SDK of OpenAI with this key, or with the demo key."""
        base = f"{self.stack.envoy}/v1"
        client = openai.OpenAI(base_url=base, api_key=key or self.key, **settings)
        return self.clients.enter_context(client)

    def anthropic(self, key: str = "", **settings: Any) -> anthropic.Anthropic:
        """Return the SDK of Anthropic with this key, or with the demo key."""
        base = self.stack.envoy
        client = anthropic.Anthropic(base_url=base, api_key=key or self.key, **settings)
        return self.clients.enter_context(client)

    def gemini(self, method: str, model: str = GEMINI) -> bytes:
        """Return the body of the answer to a request of Gemini."""
        body = {"contents": [{"role": "user", "parts": [{"text": WORDS}]}]}
        request = urllib.request.Request(
            f"{self.stack.envoy}/v1beta/models/{model}:{method}",
            json.dumps(body).encode(),
            {"x-goog-api-key": self.key, "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read()

    def tokens(self) -> str:
        """Return the tokens of the next request in the log."""

        def lines() -> list[str]:
            return self.log.read_text().splitlines() if self.log.exists() else []

        found = until(lines, lambda found: len(found) > self.lines)
        self.lines += 1
        return found[self.lines - 1]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory) -> Iterator[Gateway]:
    """A gateway that all tests share."""
    log = tmp_path_factory.mktemp("gateway") / "tokens.log"

    def logging(manager: dict[str, Any]) -> None:
        text = {"text_format_source": {"inline_string": LINE}}
        config = {"@type": FILE, "path": str(log), "log_format": text}
        manager["access_log"].append({"name": "tokens", "typed_config": config})

    with running(logging, llm=True) as (stack, _):
        shared = Gateway(stack, log)
        with shared.clients:
            yield shared


def test_chat_of_openai(gateway):
    """The answer arrives, and the filter counts the tokens that the backend reports."""
    done = gateway.openai().chat.completions.create(model=REASONING, messages=ASKED)

    assert done.choices[0].message.content == f"You said: {WORDS}"
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (9, 16)
    assert gateway.tokens() == "complete:9:16:4:0:5"


@pytest.mark.parametrize(
    ("options", "tokens"),
    [({"include_usage": True}, "complete:9:11:4:0:0"), (None, "none:0:0:0:0:0")],
)
def test_a_stream_of_chat_of_openai(gateway, options, tokens):
    """Usage is there if the client asks for it."""
    more = {"stream_options": options} if options else {}
    asked = gateway.openai().chat.completions
    parts = list(asked.create(model=CHAT, messages=ASKED, stream=True, **more))

    text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    assert text == f"You said: {WORDS}"
    assert gateway.tokens() == tokens


def test_responses_of_openai(gateway):
    """Whole and as events."""
    client = gateway.openai()
    whole = client.responses.create(model=CHAT, input=WORDS)
    assert (whole.output_text, whole.usage.total_tokens) == (f"You said: {WORDS}", 20)
    with client.responses.stream(model=CHAT, input=WORDS) as events:
        streamed = events.get_final_response()
    assert streamed.usage == whole.usage
    assert [gateway.tokens(), gateway.tokens()] == ["complete:9:11:4:0:0"] * 2


def test_embeddings_of_openai(gateway):
    """The SDK asks for base64. Embedding is a right of its own."""
    client = gateway.openai()
    made = client.embeddings.create(model=EMBEDDING_MODEL, input=["a b", "c"])
    assert [len(one.embedding) for one in made.data] == [8, 8]
    assert gateway.tokens() == "complete:3:0:0:0:0"
    with pytest.raises(openai.PermissionDeniedError, match=f"models:{CHAT}:embed"):
        client.embeddings.create(model=CHAT, input="a")
    assert gateway.tokens() == "-"


def test_messages_of_anthropic(gateway):
    """Whole and as events; tokens of a cache are a part of the input, as with the others."""
    client = gateway.anthropic()
    whole = client.messages.create(model=CLAUDE, max_tokens=20, messages=ASKED)
    assert (whole.usage.input_tokens, whole.usage.cache_read_input_tokens) == (5, 4)
    with client.messages.stream(model=CLAUDE, max_tokens=20, messages=ASKED) as events:
        assert "".join(events.text_stream) == f"You said: {WORDS}"
    assert [gateway.tokens(), gateway.tokens()] == ["complete:9:11:4:0:0"] * 2


@pytest.mark.parametrize(
    "method", ["generateContent", "streamGenerateContent?alt=sse", "streamGenerateContent"]
)
def test_content_of_gemini(gateway, method):
    """Whole, as events, and as one array."""
    body = gateway.gemini(method)
    assert b"nine" in body
    assert gateway.tokens() == "complete:9:11:4:0:0"


def test_a_key_has_its_models_only(gateway):
    """One scope holds for all APIs, and the SDKs raise their errors for a refusal."""
    with pytest.raises(openai.PermissionDeniedError, match="models:gpt-4o:generate"):
        gateway.openai().chat.completions.create(model="gpt-4o", messages=ASKED)
    with pytest.raises(anthropic.PermissionDeniedError, match="models:opus:generate"):
        gateway.anthropic().messages.create(model="opus", max_tokens=9, messages=ASKED)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        gateway.gemini("generateContent", "gemini-pro")
    with pytest.raises(openai.AuthenticationError):
        gateway.openai("sk-1").responses.create(model=CHAT, input="a")
    with pytest.raises(anthropic.AuthenticationError):
        gateway.anthropic("sk-1").messages.create(model=CLAUDE, max_tokens=9, messages=ASKED)
    assert {gateway.tokens() for _ in range(5)} == {"-"}


def test_a_body_cannot_name_two_models(gateway):
    """A body that parsers may read differently has no model, and needs a wildcard."""
    again = {"MODEL": "gpt-4o"}
    with pytest.raises(openai.PermissionDeniedError):
        gateway.openai().chat.completions.create(model=CHAT, messages=ASKED, extra_body=again)
    key = gateway.issue(scopes=frozenset({"models:*"})).key_text
    gateway.openai(key).chat.completions.create(model=CHAT, messages=ASKED, extra_body=again)
    assert [gateway.tokens(), gateway.tokens()] == ["-", "complete:9:11:4:0:0"]


@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_a_client_over_its_limit_waits_as_it_is_told(gateway, api):
    """Without retries the SDK raises its error, with Retry-After. With retries it succeeds."""
    scopes = frozenset({"models:*"})
    key = gateway.issue(scopes=scopes, limits=parse_limits("--limit", ["1/s"])).key_text or ""

    def ask(retries: int) -> Any:
        if api == "openai":
            chat = gateway.openai(key, max_retries=retries).chat.completions
            return chat.with_raw_response.create(model=CHAT, messages=ASKED)
        messages = gateway.anthropic(key, max_retries=retries).messages
        return messages.with_raw_response.create(model=CLAUDE, max_tokens=9, messages=ASKED)

    limited = (openai.RateLimitError, anthropic.RateLimitError)

    def refusal() -> Any:
        try:
            ask(0)
        except limited as refused:
            return refused
        return None

    refused = until(refusal, lambda found: found is not None)
    assert int(refused.response.headers["retry-after"]) >= 1
    assert refused.body["error" if api == "anthropic" else "code"]
    assert ask(9).status_code == 200


def usage_of(gateway: Gateway, kid: str) -> dict[str, int]:
    """Return the usage of a key today, by the names of `authz usage --json`."""

    async def read() -> Counts:
        day = time.time_ns() // 86_400_000_000_000
        async with Endpoint.parse(gateway.stack.redis).client() as client:
            days = range(day - 1, day + 1)
            found = await StoredUsage(client).counts(kid, Level.DAY, days)
            return sum(found.values(), Counts())

    return asyncio.run(read()).by_name()


def test_the_meter_counts_what_the_backend_reported(gateway):
    """The sums over all APIs, whole and as streams, are those of the answers, to the token."""
    issued = gateway.issue(scopes=frozenset({"models:*"}))
    kid, key = issued.record.kid, issued.key_text or ""
    chat, claude = gateway.openai(key).chat.completions, gateway.anthropic(key).messages
    whole = chat.create(model=REASONING, messages=ASKED).usage
    options = {"include_usage": True}
    *_, last = chat.create(model=CHAT, messages=ASKED, stream=True, stream_options=options)
    made = gateway.openai(key).embeddings.create(model=EMBEDDING_MODEL, input=["a b"]).usage
    with claude.stream(model=CLAUDE, max_tokens=20, messages=ASKED) as events:
        told = events.get_final_message().usage
    inputs = whole.prompt_tokens + last.usage.prompt_tokens + made.prompt_tokens
    inputs += told.input_tokens + told.cache_read_input_tokens
    outputs = whole.completion_tokens + last.usage.completion_tokens + told.output_tokens

    found = until(lambda: usage_of(gateway, kid), lambda seen: seen["ok"] == 4)
    assert (found["input_tokens"], found["output_tokens"]) == (inputs, outputs)
    assert (found["cached_tokens"], found["reasoning_tokens"]) == (12, 5)
    assert (found["estimated"], found["aborted"]) == (0, 0)
    assert found["micro_usd"] > 0


def test_a_budget_of_tokens_ends(gateway):
    """Answers are settled against the budget. When it has no room, the SDK raises its error."""
    limits = parse_limits("--limit", ["100/calendar-day,of=tokens"])
    issued = gateway.issue(scopes=frozenset({"models:*"}), limits=limits)
    kid, key = issued.record.kid, issued.key_text or ""
    chat = gateway.openai(key, max_retries=0).chat.completions
    spent = 0
    while spent + ESTIMATE <= 100:
        spent += chat.create(model=CHAT, messages=ASKED).usage.total_tokens
        number = spent // 20
        until(lambda: usage_of(gateway, kid), lambda seen, at=number: seen["ok"] == at)

    with pytest.raises(openai.RateLimitError) as refused:
        chat.create(model=CHAT, messages=ASKED)
    assert refused.value.code == "quota_exceeded"
    assert spent == 60
    assert usage_of(gateway, kid)["input_tokens"] + usage_of(gateway, kid)["output_tokens"] == spent
