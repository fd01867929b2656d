"""Answers of the stand-in for LLM APIs, in the shapes of OpenAI, Anthropic and Gemini.

A token is a word. Input tokens are the words of the request, and half of them come from a cache if
there are at least CACHED_FROM. The answer repeats the last words, up to the limit of the request.
Models whose names contain `reason` think first, for THOUGHTS tokens.
"""

import base64
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

CACHED_FROM: Final = 8
THOUGHTS: Final = 5
MOST_WORDS: Final = 64
DIMENSIONS: Final = 8

Body = Mapping[str, Any]
Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """The words of an answer, and the tokens that it cost."""

    model: str
    words: tuple[str, ...]
    input: int
    cached: int
    thoughts: int

    @property
    def text(self) -> str:
        """The answer as text."""
        return " ".join(self.words)

    @property
    def pieces(self) -> Iterator[str]:
        """The text in parts, as a stream has them."""
        return (word if at == 0 else f" {word}" for at, word in enumerate(self.words))

    @property
    def output(self) -> int:
        """Tokens of the answer, thoughts included."""
        return len(self.words) + self.thoughts


def reply(model: str, content: Any, most: Any = None) -> Reply:
    """Return the answer to any JSON value whose texts are the prompt. most: its tokens at most."""
    words = [word for text in _texts(content) for word in text.split()]
    number = most if isinstance(most, int) and 0 < most < MOST_WORDS else MOST_WORDS
    cached = len(words) // 2 if len(words) >= CACHED_FROM else 0
    thoughts = THOUGHTS if "reason" in model else 0
    return Reply(model, tuple(["You", "said:", *words][:number]), len(words), cached, thoughts)


def _texts(part: Any) -> Iterator[str]:
    """Yield the texts of a prompt: of `content`, `text`, `parts` and lists of them."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, list):
        for inner in part:
            yield from _texts(inner)
    elif isinstance(part, dict):
        for name in ("content", "text", "parts"):
            yield from _texts(part.get(name))


def chat(one: Reply) -> Event:
    """Return a chat completion of OpenAI."""
    message = {"role": "assistant", "content": one.text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return _completion(one, "chat.completion") | {"choices": [choice], "usage": _chat_usage(one)}


def chat_events(one: Reply, *, with_usage: bool) -> Iterator[Event]:
    """Yield the events of a chat completion; usage comes last, if it is asked for."""
    base = _completion(one, "chat.completion.chunk") | ({"usage": None} if with_usage else {})
    for at, piece in enumerate(one.pieces):
        delta = {"content": piece} | ({"role": "assistant"} if at == 0 else {})
        yield base | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield base | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    if with_usage:
        yield base | {"choices": [], "usage": _chat_usage(one)}


def _completion(one: Reply, kind: str) -> Event:
    return {"id": "chatcmpl-standin", "object": kind, "created": 1_700_000_000, "model": one.model}


def _chat_usage(one: Reply) -> Event:
    return {
        "prompt_tokens": one.input,
        "completion_tokens": one.output,
        "total_tokens": one.input + one.output,
        "prompt_tokens_details": {"cached_tokens": one.cached},
        "completion_tokens_details": {"reasoning_tokens": one.thoughts},
    }


def response(one: Reply, status: str = "completed") -> Event:
    """Return a response of OpenAI; without output and usage unless it is completed."""
    is_done = status == "completed"
    content = [{"type": "output_text", "text": one.text, "annotations": []}]
    message = {"id": "msg_standin", "type": "message", "role": "assistant", "status": "completed"}
    usage = {
        "input_tokens": one.input,
        "input_tokens_details": {"cached_tokens": one.cached, "cache_write_tokens": 0},
        "output_tokens": one.output,
        "output_tokens_details": {"reasoning_tokens": one.thoughts},
        "total_tokens": one.input + one.output,
    }
    return {
        "id": "resp_standin",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": one.model,
        "output": [message | {"content": content}] if is_done else [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": usage if is_done else None,
    }


def response_events(one: Reply) -> Iterator[Event]:
    """Yield the events of a response of OpenAI."""
    place = {"item_id": "msg_standin", "output_index": 0, "content_index": 0}
    whole = response(one)
    (item,) = whole["output"]
    begun = item | {"status": "in_progress", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    yield {"type": "response.created", "response": response(one, "in_progress")}
    yield {"type": "response.output_item.added", "output_index": 0, "item": begun}
    yield {"type": "response.content_part.added", "part": part, **place}
    for piece in one.pieces:
        yield {"type": "response.output_text.delta", "delta": piece, "logprobs": [], **place}
    yield {"type": "response.output_text.done", "text": one.text, "logprobs": [], **place}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    yield {"type": "response.completed", "response": whole}


def embeddings(model: str, body: Body) -> Event:
    """Return an embedding of OpenAI for each text, as floats or in base64."""
    given = body.get("input")
    inputs = given if isinstance(given, list) else [given]
    numbers = [round(at / DIMENSIONS, 3) for at in range(DIMENSIONS)]
    packed = base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *numbers)).decode("ascii")
    vector = packed if body.get("encoding_format") == "base64" else numbers
    data = [
        {"object": "embedding", "index": at, "embedding": vector} for at, _ in enumerate(inputs)
    ]
    used = reply(model, inputs).input
    usage = {"prompt_tokens": used, "total_tokens": used}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def message(one: Reply) -> Event:
    """Return a message of Anthropic. Its input tokens are those that no cache had."""
    return {
        "id": "msg_standin",
        "type": "message",
        "role": "assistant",
        "model": one.model,
        "content": [{"type": "text", "text": one.text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": _message_input(one) | _message_output(one),
    }


def message_events(one: Reply) -> Iterator[Event]:
    """Yield the events of a message of Anthropic. The first one has a count of 1 so far."""
    begun = message(one) | {"content": [], "stop_reason": None}
    yield {
        "type": "message_start",
        "message": begun | {"usage": _message_input(one) | {"output_tokens": 1}},
    }
    block = {"type": "text", "text": ""}
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    for piece in one.pieces:
        delta = {"type": "text_delta", "text": piece}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": ended, "usage": _message_output(one)}
    yield {"type": "message_stop"}


def _message_output(one: Reply) -> Event:
    details = {"thinking_tokens": one.thoughts}
    return {"output_tokens": one.output, "output_tokens_details": details}


def _message_input(one: Reply) -> Event:
    return {
        "input_tokens": one.input - one.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": one.cached,
    }


def content(one: Reply) -> Event:
    """Return generated content of Gemini."""
    return _content(one, one.text, len(one.words), "STOP")


def content_events(one: Reply) -> Iterator[Event]:
    """Yield the parts of generated content of Gemini; each has the usage so far."""
    for at, piece in enumerate(one.pieces, 1):
        yield _content(one, piece, at, "STOP" if at == len(one.words) else "")


def _content(one: Reply, text: str, words: int, reason: str) -> Event:
    candidate: Event = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    usage = {
        "promptTokenCount": one.input,
        "candidatesTokenCount": words,
        "totalTokenCount": one.input + words + one.thoughts,
        "cachedContentTokenCount": one.cached,
        "thoughtsTokenCount": one.thoughts,
    }
    return {
        "candidates": [candidate | ({"finishReason": reason} if reason else {})],
        "usageMetadata": usage,
        "modelVersion": one.model,
    }
