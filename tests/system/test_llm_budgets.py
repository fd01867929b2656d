"""Budgets of a running LLM gateway: reserved by the sidecar, settled by the meter."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from authz.cli import devstack
from authz.cli.administration import read_record
from authz.cli.devconfig import own_environment
from authz.cli.devstack import EMBEDDING_MODEL, LLM_MODELS
from authz.core.limits.limit import parse_limits
from authz.wiring.many_keys import bulk_session
from tests.support.system import Installation, running, until

CHAT, REASONING, CLAUDE, GEMINI = LLM_MODELS
WORDS = "one two three four five six seven eight nine"
ASKED = [{"role": "user", "content": WORDS}]
BUDGETS = ("5000/month,of=tokens", "0.01/month,of=usd", "600/month")


@pytest.fixture(scope="module")
def gateway() -> Iterator[Installation]:
    """A gateway that all tests share."""
    sections = devstack.llm_sections()
    (embeddings,) = (route for route in sections["routes"] if route["name"] == "embeddings")
    embeddings["charge_once"] = {"headers": ["idempotency-key"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devstack, "llm_sections", lambda: sections)
        with running(llm=True) as (stack, _):
            yield Installation(stack)


def issued(gateway: Installation, *limits: str) -> tuple[str, str]:
    """Return the kid and the text of a new key with these limits."""
    made = gateway.issue(
        scopes=frozenset({"models:*"}), limits=parse_limits("--limit", limits or BUDGETS)
    )
    return made.record.kid, made.key_text or ""


def spent(gateway: Installation, kid: str) -> dict[str, tuple[int, int]]:
    """Return what was spent of each budget, and what is reserved, by the name of the limit."""

    async def look() -> Any:
        async with bulk_session(gateway.settings) as session:
            found = await read_record(session, kid)
            return await session.limits.view(found)

    view = asyncio.run(look())
    return {use.name: (use.spent, use.reserved) for use in view.uses if use.limit.is_budget}


def chat(gateway: Installation, key: str, model: str = CHAT, **more: Any) -> Any:
    """Make one request of OpenAI, with nine words."""
    with openai.OpenAI(base_url=f"{gateway.stack.envoy}/v1", api_key=key, max_retries=0) as client:
        answer = client.chat.completions.create(model=model, messages=ASKED, **more)
        return list(answer) if more.get("stream") else answer


def test_the_real_use_takes_the_place_of_the_estimate(gateway):
    """An answer of 9 and 11 tokens, 4 of the input from a cache, costs exactly its price."""
    kid, key = issued(gateway)
    chat(gateway, key)
    price = -(-(5 * 150_000 + 4 * 75_000 + 11 * 600_000) // 10**6)
    settled = {"tokens-month": (20, 0), "usd-month": (price, 0)}
    assert until(lambda: spent(gateway, kid), lambda found: found == settled)


def embed(gateway: Installation, key: str, words: str, **headers: str) -> Any:
    """Ask for one embedding, with an idempotency key perhaps. Return the answer's headers."""
    with openai.OpenAI(base_url=f"{gateway.stack.envoy}/v1", api_key=key, max_retries=0) as client:
        answer = client.embeddings.with_raw_response.create(
            model=EMBEDDING_MODEL, input=words, extra_headers=headers
        )
        return answer.headers


def test_attempts_of_one_request_are_charged_once(gateway):
    """Three attempts cost the tokens of the largest one, once; others cost their own.

    The second one comes while the first may be unsettled, and the limit of requests has one use.
    """
    kid, key = issued(gateway, "5000/month,of=tokens", "2/min")
    name = {"idempotency-key": "order 17"}
    for words in (WORDS, "one two", WORDS):
        assert 'minute";r=1' in embed(gateway, key, words, **name)["ratelimit"]
    assert 'minute";r=0' in embed(gateway, key, "one two three")["ratelimit"]
    embed(gateway, key, WORDS, **name)  # the limit has no room for another request
    with pytest.raises(openai.RateLimitError):
        embed(gateway, key, WORDS, **{"idempotency-key": "order 18"})
    settled = {"tokens-month": (9 + 3, 0)}
    assert until(lambda: spent(gateway, kid), lambda found: found == settled) == settled
    counts = until(lambda: usage(gateway, kid), lambda found: found[0] == 6)
    assert counts == (6, 2, 9 * 3 + 2 + 3)  # a refused one too; tokens of all answers


def usage(gateway: Installation, kid: str) -> tuple[int, int, int]:
    """Return the counts of a key: requests, units, and tokens of input."""
    command = ["-m", "authz.cli.main", "--config", gateway.stack.config, "usage", "--key", kid]
    found = subprocess.run(
        [sys.executable, *command, "--json"], check=True, capture_output=True, env=own_environment()
    )
    total = json.loads(found.stdout)["total"]
    return total["requests"], total["units"], total["input_tokens"]


def test_an_answer_without_tokens_keeps_the_estimate(gateway):
    """A stream whose client does not ask for the usage stays reserved."""
    kid, key = issued(gateway)
    chat(gateway, key, stream=True)
    chat(gateway, key)
    kept = (70, 0)  # the estimate counts as spent
    assert until(lambda: spent(gateway, kid), lambda found: found["tokens-month"] == kept)


def test_a_budget_that_is_used_up(gateway):
    """The answer names the budget, its unit, the rest, and the time of its end."""
    _, key = issued(gateway, "60/month,of=tokens")
    chat(gateway, key)  # 50 are reserved, then 20 are used
    passed = until(lambda: _refused(gateway, key), lambda found: found is not None)
    problem = passed.response.json()
    assert problem["code"] == "quota_exceeded"
    assert problem["violated-policies"] == ["tokens-month"]
    assert ';qu="tokens"' in passed.response.headers["ratelimit-policy"]
    assert '"tokens-month";r=' in passed.response.headers["ratelimit"]
    assert int(passed.response.headers["retry-after"]) >= 1


def _refused(gateway: Installation, key: str) -> Any:
    try:
        chat(gateway, key)
    except openai.RateLimitError as refused:
        return refused
    return None


def test_a_budget_of_bytes_counts_the_body_of_the_answer(gateway):
    """Each answer counts with its bytes, also on a route without prices or an estimate of bytes."""
    kid, key = issued(gateway, "50000/month,of=bytes_out")
    with openai.OpenAI(base_url=f"{gateway.stack.envoy}/v1", api_key=key, max_retries=0) as client:
        answers = [
            client.chat.completions.with_raw_response.create(model=CHAT, messages=ASKED)
            for _ in range(2)
        ]
    policy = answers[0].headers["ratelimit-policy"]
    assert policy.startswith('"bytes_out-month";q=50000;')
    assert policy.endswith('qu="content-bytes"')
    total = sum(len(answer.content) for answer in answers)
    until(lambda: spent(gateway, kid), lambda seen: seen == {"bytes_out-month": (total, 0)})
