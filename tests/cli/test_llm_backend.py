"""The stand-in for LLM APIs: its answers have the tokens that their prompt says, in every API."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.cli.llm_answers import CACHED_FROM, MOST_WORDS, THOUGHTS
from authz.cli.llm_backend import respond
from tests.support.proxy.lua_filter import LuaFilter

FILTER = LuaFilter()
USAGE = {"include_usage": True}
# By name: the path, the prompt in a body, and the name of the limit of an answer there.
APIS: dict[str, tuple[str, Any, Any]] = {
    "chat": (
        "/v1/chat/completions",
        lambda text: {"messages": [{"role": "user", "content": text}]},
        lambda most: {"max_completion_tokens": most},
    ),
    "responses": (
        "/v1/responses",
        lambda text: {
            "input": [{"role": "user", "content": [{"type": "input_text", "text": text}]}]
        },
        lambda most: {"max_output_tokens": most},
    ),
    "messages": (
        "/v1/messages",
        lambda text: {"messages": [{"role": "user", "content": text}]},
        lambda most: {"max_tokens": most},
    ),
    "generateContent": (
        "/v1beta/models/{model}:generateContent",
        lambda text: {"contents": [{"parts": [{"text": text}]}]},
        lambda most: {"generationConfig": {"maxOutputTokens": most}},
    ),
}
STREAMS = {
    "chat": ("", {"stream": True, "stream_options": USAGE}),
    "responses": ("", {"stream": True}),
    "messages": ("", {"stream": True}),
    "generateContent": ("?alt=sse", {}),
}


@given(
    st.sampled_from(sorted(APIS)),
    st.booleans(),
    st.lists(st.text(st.characters(categories=["L", "P"]), min_size=1), max_size=12),
    st.sampled_from(["mini", "reason-1"]),
    st.none() | st.integers(1, 20),
)
def test_every_api_reports_the_same_tokens(name, is_stream, words, model, most):
    """Words in, words out: the filter reads the same word from each API, whole and as a stream."""
    path, prompt, limit = APIS[name]
    query, more = STREAMS[name] if is_stream else ("", {})
    if is_stream:
        path = path.replace(":generate", ":streamGenerate")
    body = {"model": model} | prompt(" ".join(words)) | more | (limit(most) if most else {})
    response = respond(path.replace("{model}", model) + query, json.dumps(body).encode())

    chunks = [part.encode() for part in response.parts]
    writes = FILTER.answered(chunks, content_type=response.kind)
    number = len(" ".join(words).split())
    thoughts = THOUGHTS if model == "reason-1" else 0
    output = min(number + 2, most or MOST_WORDS) + thoughts
    cached = number // 2 if number >= CACHED_FROM else 0
    found = {key: value for _, key, value in writes}
    expected = f"complete:{number}:{output}:{cached}:0:{thoughts}"
    assert (response.status, found) == (200, {"tokens": expected, "model": model})


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/other", b"{}", 404),
        ("/v1beta/models/a/b:generateContent", b"{}", 404),
        ("/v1/messages", b"{", 400),
        ("/v1/messages", b"[]", 400),
        ("/v1/messages", b"\xff", 400),
        ("/v1/messages", b"{}", 400),
        ("/v1/messages", b'{"model": 1}', 400),
    ],
)
def test_a_request_that_cannot_be_is_refused(path, body, status):
    """The answer is an error in JSON, and costs nothing."""
    response = respond(path, body)
    assert response.status == status
    assert "error" in json.loads("".join(response.parts))


def test_embeddings_count_the_words_of_each_text():
    """There is one embedding for each text, as numbers or in base64."""
    for encoding, kind in (("float", list), ("base64", str)):
        body = {"model": "e", "input": ["a b", "c"], "encoding_format": encoding}
        (text,) = respond("/v1/embeddings", json.dumps(body).encode()).parts
        found = json.loads(text)
        assert found["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
        assert [type(one["embedding"]) for one in found["data"]] == [kind, kind]
