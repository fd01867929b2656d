"""The LLM filter in LuaJIT: answers of three vendors in every division, and bodies of requests.

The files in fixtures/llm follow the vendors' documented shapes. Each also has text that looks like
usage where a model or a client can put it.
"""

import gzip
import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.proxy.lua_filter import LuaFilter, Writes

FIXTURES = Path(__file__).parent / "fixtures" / "llm"
JSON, EVENTS = "application/json; charset=UTF-8", "text/event-stream"
ANSWERS = {
    "openai-chat.json": ("complete:2006:300:1920:64:192", "gpt-4.1-2025-04-14"),
    "openai-chat.sse": ("complete:19:10:0:0:0", "gpt-4o-mini-2024-07-18"),
    "openai-chat-without-usage.sse": ("none:0:0:0:0:0", "gpt-4o-mini-2024-07-18"),
    "openai-responses.json": ("complete:328:52:128:0:32", "gpt-4.1-2025-04-14"),
    "openai-responses.sse": ("complete:328:52:128:0:32", "gpt-4.1-2025-04-14"),
    "openai-embeddings.json": ("complete:8:0:0:0:0", "text-embedding-3-small"),
    "anthropic-message.json": ("complete:2098:503:1800:248:120", "claude-sonnet-4-20250514"),
    "anthropic-message.sse": ("complete:35:15:10:0:0", "claude-opus-4-20250514"),
    "gemini.json": ("complete:10:1983:2:0:863", "gemini-2.5-flash"),
    "gemini.sse": ("complete:10:1983:2:0:863", "gemini-2.5-flash"),
    "gemini-array.json": ("complete:10:1983:2:0:863", "gemini-2.5-flash"),
}
WORD = re.compile(r"(complete|partial|none|encoded)(:[0-9]{1,13}){5}", re.ASCII)
FILTER = LuaFilter()
EACH_ANSWER = pytest.mark.parametrize("name", ANSWERS)


def answered(chunks, kind: str = JSON) -> tuple[str, str]:
    """Return the last tokens and the last model that the filter wrote; "" for none."""
    return last(FILTER.answered(chunks, content_type=kind))


def last(writes: Writes) -> tuple[str, str]:
    """Return the values of the last writes of `tokens` and `model`; "" for none."""
    assert {space for space, *_ in writes} <= {"authz.usage"}
    found = {key: value for _, key, value in writes}
    return found.get("tokens", ""), found.get("model", "")


def body_of(name: str) -> tuple[bytes, str]:
    """Return the bytes and the content type of a fixture."""
    return (FIXTURES / name).read_bytes(), EVENTS if name.endswith(".sse") else JSON


@EACH_ANSWER
def test_usage_is_found_however_the_answer_is_divided(name):
    """In one chunk, in two at every byte, and in one chunk for each byte."""
    body, kind = body_of(name)
    for at in range(len(body)):
        assert answered([body[:at], body[at:]], kind) == ANSWERS[name], at
    assert answered([body[at : at + 1] for at in range(len(body))], kind) == ANSWERS[name]


@EACH_ANSWER
def test_an_aborted_answer_is_complete_only_with_its_last_usage(name):
    """After every byte, the word is partial, or has the numbers of the whole answer."""
    body, kind = body_of(name)
    whole, _ = ANSWERS[name]
    words = {last(FILTER.aborted([body[:at]], content_type=kind))[0] for at in range(len(body))}
    assert all(WORD.fullmatch(word) for word in words)
    assert {word for word in words if not word.startswith("partial:")} <= {whole}
    assert "partial:0:0:0:0:0" in words


def test_usage_that_runs_along_is_there_when_a_stream_is_aborted():
    """Gemini and Anthropic report usage before the end; it counts as partial."""
    body, kind = body_of("gemini.sse")
    two = body[: body.rindex(b"data:")]
    assert last(FILTER.aborted([two], content_type=kind))[0].startswith("partial:4:1463:")
    body, kind = body_of("anthropic-message.sse")
    begun = body[: body.index(b"event: ping")]
    assert last(FILTER.aborted([begun], content_type=kind))[0] == "partial:35:1:10:0:0"


@pytest.mark.parametrize(
    "text",
    [
        '{"choices":[{"usage":{"prompt_tokens":1}}]}',
        '{"a":{"usage":{"prompt_tokens":1}}}',
        '{"message":{"content":[{"usage":{"input_tokens":1}}]}}',
        '{"usage":[{"prompt_tokens":1}]}',
        '{"usage":{"a":{"prompt_tokens":1}}}',
        '{"usage":{"iterations":[{"input_tokens":1}]}}',
        '{"usage":null,"prompt_tokens":1}',
        '{"content":"\\"usage\\":{\\"prompt_tokens\\":1}"}',
        '{"content":"\\\\\\"usage\\":{\\"prompt_tokens\\":1}"}',
        '[[{"usage":{"prompt_tokens":1}}]]',
        '{"usage":{"prompt_tokens":-1}}',
        '{"usage":{"prompt_tokens":1.5}}',
        '{"usage":{"prompt_tokens":1e3}}',
        '{"usage":{"prompt_tokens":"1"}}',
        '{"usage":{"prompt_tokens":1000000000000000}}',
    ],
)
def test_only_whole_numbers_at_the_vendors_places_are_usage(text):
    """Text of a model, arguments of its tools, and odd numbers are none."""
    assert answered([text.encode()])[0] == "none:0:0:0:0:0"


def test_an_event_cannot_spoil_the_next_one():
    """A blank line begins anew, whatever the event before it left open."""
    spoilt = b'data: {"a":[{"b":"c\n\ndata: {"usage":{"prompt_tokens":7}}\n\ndata: [DONE]\n\n'
    assert answered([spoilt], EVENTS)[0] in {"complete:7:0:0:0:0", "none:0:0:0:0:0"}
    left_open = b'data: {"a":[{"b":1\r\n\r\ndata: {"usage":{"prompt_tokens":7}}\n\n'
    assert answered([left_open], EVENTS)[0] == "complete:7:0:0:0:0"


def test_other_answers_get_no_word():
    """Errors, pages and files are passed on unread."""
    usage = [b'{"usage":{"prompt_tokens":1}}']
    for headers in (
        {"content_type": JSON, "_status": "429"},
        {"content_type": JSON, "_status": "500"},
        {"content_type": "text/html"},
        {},
    ):
        assert FILTER.answered(usage, **headers) == []


def test_a_compressed_answer_is_said_to_be_unread():
    """The filter removes accept-encoding; a backend may compress all the same."""
    packed = gzip.compress(b'{"usage":{"prompt_tokens":1}}')
    writes = FILTER.answered([packed], content_type=JSON, content_encoding="gzip")
    assert last(writes) == ("encoded:0:0:0:0:0", "")
    same = FILTER.answered([b"{}"], content_type=JSON, content_encoding="identity")
    assert last(same)[0] == "none:0:0:0:0:0"


@pytest.mark.parametrize("text", ["word ", "\\n", '\\"usage\\":{', "\\\\"])
def test_a_large_answer_is_read_and_not_kept(text):
    """Of 2 MB nothing stays: memory does not grow with the answer."""
    content = text * (2_000_000 // len(text))
    body = f'{{"choices":[{{"a":"{content}"}}],"usage":{{"prompt_tokens":3}}}}'.encode()
    one = LuaFilter()
    kept = []

    def chunks():
        for at in range(0, len(body), 16_384):
            yield body[at : at + 16_384]
            kept.append(one.kilobytes())

    assert last(one.answered(chunks(), content_type=JSON))[0] == "complete:3:0:0:0:0"
    assert max(kept[10:]) < kept[3] + 200


@given(st.lists(st.binary(max_size=60), max_size=8), st.sampled_from([JSON, EVENTS]))
@example([b'{"usage":{"prompt_tokens":', b"1", b'2}}{"usage":{'], JSON)
@example([b"]]]]}}}}", b'\n\n\n"'], EVENTS)
def test_garbage_breaks_nothing(chunks, kind):
    """Every word is well-formed, also for chunks of any bytes."""
    words = [
        value for _, key, value in FILTER.answered(chunks, content_type=kind) if key == "tokens"
    ]
    assert words
    assert all(WORD.fullmatch(word) for word in words)


@given(st.data())
def test_an_answer_with_a_few_odd_bytes_breaks_nothing(data):
    """Real answers with bytes replaced, cut or doubled give well-formed words."""
    body, kind = body_of(data.draw(st.sampled_from(sorted(ANSWERS))))
    at = data.draw(st.integers(0, len(body)))
    odd = data.draw(
        st.sampled_from([b'"', b"\\", b"{", b"}", b"[", b"]", b":", b"\n\n", b"\0", b"\xff"])
    )
    cut = data.draw(st.integers(0, 3))
    writes = FILTER.answered([body[:at] + odd, body[at + cut :]], content_type=kind)
    assert all(WORD.fullmatch(value) for _, key, value in writes if key == "tokens")


def asked(body: bytes | str | None, kind: str = JSON, **headers: str) -> str | None:
    """Return the model of a request, which must lose accept-encoding."""
    raw = body.encode() if isinstance(body, str) else body
    model, removed = FILTER.asked(raw, content_type=kind, **headers)
    assert removed == {"accept-encoding"}
    return model


@pytest.mark.parametrize(
    ("body", "model"),
    [
        ('{"model":"gpt-4o","messages":[]}', "gpt-4o"),
        (
            ' {\n "stream" : true, "n":-1.5e+3, "model" :\t"meta-llama/Llama-3.1:8b@x" }',
            "meta-llama/Llama-3.1:8b@x",
        ),
        ('{"messages":[{"model":"b","content":"\\"model\\":\\"c\\""}],"model":"a"}', "a"),
        ('{"tools":[{"a":{"Model":"b"}}],"model":"a","x":{"model":"c"}}', "a"),
        ('{"model":"' + "a" * 128 + '"}', "a" * 128),
    ],
)
def test_the_model_of_a_request_is_read(body, model):
    """The model is the member of the outermost object, wherever that stands."""
    assert asked(body) == model


@pytest.mark.parametrize(
    "body",
    [
        None,
        "",
        "[]",
        "{}",
        '"model"',
        '[{"model":"a"}]',
        '{"model":"a"',
        '{"model":"a","model":"b"}',
        '{"model":"a","model":"a"}',
        '{"model":"a","Model":"b"}',
        '{"MODEL":"a"}',
        '{"model":"a","mod\\u0065l":"b"}',
        '{"mod\\u0065l":"a"}',
        b'{"model":"a","mod\xffel":"b"}',
        b'{"model":"a","model\0":"b"}',
        b'{"model":"a","' + b"\xff" * 129 + b'model":"b"}',
        '{"model":"gpt\\u002d4"}',
        '{"model":"a b"}',
        '{"model":"-a"}',
        '{"model":"é"}',
        '{"model":""}',
        '{"model":null}',
        '{"model":1}',
        '{"model":["a"]}',
        '{"model":{"a":"b"}}',
        '{"model":"' + "a" * 129 + '"}',
        '{/*"model":"b",*/"model":"a"}',
        "{'model':'a'}",
        '{model:"b","model":"a"}',
        '{"x":1,model:"b","model":"a"}',
        '{"model":"a"}{"model":"b"}',
        '{"model":"a"}]',
        '{"model":"a"]',
        b'\xef\xbb\xbf{"model":"a"}',
        '{"model":"a"}'.encode("utf-16-le"),
        '{"model":"a"}'.encode("utf-16-be"),
        '{"model":"a"}'.encode("utf-32-le"),
        '{"model":"a","x":[' + "[]," * 60_000 + "1]}",
    ],
)
def test_a_body_that_parsers_may_read_differently_has_no_model(body):
    """Some take the first of two names, some the last, and some ignore the case."""
    assert asked(body) is None


def test_only_a_plain_json_body_is_read():
    """A compressed body, a form and a body of another type have no model."""
    body = '{"model":"a"}'
    assert asked(body, "application/JSON") == "a"
    assert asked(body, "text/plain") is None
    assert asked(body, "multipart/form-data; boundary=x") is None
    assert asked(body, content_encoding="gzip") is None


@pytest.mark.parametrize(
    ("kind", "is_read"),
    [
        ("application/json", True),
        ("application/json ; charset=utf-8", True),
        ('application/json;charset="UTF-8"', True),
        ("application/vnd.api+json", True),
        ("text/json", True),
        ("multipart/form-data; boundary=json", False),
        ("multipart/form-data; boundary=x/json", False),
        ("application/x-www-form-urlencoded; a=json", False),
        ("application/jsonx", False),
        ("application/json; charset=utf-7", False),
        ("application/json; charset=shift_jis", False),
        ("application/json; charset=utf-8; charset=utf-7", False),
        ("application/json,multipart/form-data; boundary=x", False),
        ("application/json; charset=utf-8,multipart/form-data; boundary=x", False),
        ("json", False),
        ("", False),
    ],
)
def test_a_type_that_a_backend_may_read_differently_has_no_model(kind, is_read):
    """A form can lie in a text of JSON, and in other encodings quotes stand elsewhere."""
    body = '{"model":"a","x":"\r\n--json\r\nContent-Disposition: form-data; name=model\r\n\r\nb"}'
    assert asked(body, kind) == ("a" if is_read else None)


TEXTS = (
    st.sampled_from(["model", "Model", "a", "gpt-4o", '"', "\\", ":", "{", "é", "\n"]) | st.text()
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=4), st.booleans(), st.data())
def test_no_parser_reads_another_model(body, is_ascii, data):
    """If the filter names a model, then a parser of JSON reads this one, or nothing at all."""
    text = json.dumps(body | {"model": "gpt-4o"}, ensure_ascii=is_ascii)
    if data.draw(st.booleans()):
        at, cut = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 2))
        put = data.draw(
            st.sampled_from(["", '"', "\\", "{", "}", ",", ':"x"', '"model":"b",', " "])
        )
        text = text[:at] + put + text[at + cut :]
    model = asked(text.encode("utf-8", "surrogatepass"))
    pairs: list[tuple[str, object]] = []
    try:
        whole = json.loads(text, object_pairs_hook=lambda found: pairs.extend(found) or dict(found))
    except ValueError:
        return
    if model is not None:
        assert isinstance(whole, dict)
        assert {value for name, value in whole.items() if name.lower() == "model"} == {model}
