"""The filter for LLM APIs, llm.lua: its parts of a configuration, and the rule about it.

It is off by default, and on at the routes of LLMs. Facts about Envoy are those of 1.36 to 1.40.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from authz.core.finding import Level
from authz.proxy.chains import Chain, Expected
from authz.proxy.document import Message, at, is_on, items, kind_of, texts, within
from authz.proxy.problem import FAIL, WARN, Problem

NAME: Final = "authz.llm"
SOURCE: Final = Path(__file__).with_name("llm.lua").read_text()
MODEL_SPACE, USAGE_SPACE = "authz.request", "authz.usage"  # of dynamic metadata
MOST_BYTES: Final = 1_048_576  # of a body that is held until the model is known
LUA: Final = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
ENABLED: Final = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}}
PER_ROUTE: Final = {
    "request_body_buffer_limit": MOST_BYTES,
    "typed_per_filter_config": {NAME: ENABLED},
}
"""The fields of a route of an LLM. Envoy 1.36 ignores the limit, and takes the listener's."""

Node = dict[str, Any]


def llm_filter() -> Node:
    """Return the HTTP filter. It stands before ext_authz."""
    source = {"@type": LUA, "default_source_code": {"inline_string": SOURCE}}
    return {"name": NAME, "disabled": True, "typed_config": source}


def llm(chain: Chain, expected: Expected) -> Iterator[Problem]:
    """Report a filter for LLMs that is missing, in the wrong place, or off.

    FAIL: a rule of the settings takes the model from the body, and no model would reach the
    sidecar. WARN: tokens are not counted, or not by the filter of this version.
    """
    wanted = FAIL if expected.reads_model else WARN
    advice = "`authz envoy snippet --llm`"
    found = list(_ours(items(chain.manager.get("http_filters"))))
    if not found:
        if expected.reads_model:
            yield FAIL, "no filter reads the model of a body, and routes ask for it", advice
        elif expected.has_budgets:
            found_none = "no filter reads the tokens of answers: budgets keep every estimate"
            yield WARN, found_none, advice
        else:
            yield Level.OK, "no filter for LLMs: tokens are not counted", advice
        return
    if not any(True for _ in _ours(chain.before)):
        lost = "the filter for LLMs stands after ext_authz, which then knows no model"
        yield wanted, lost, f"place {found[0].get('name')} before ext_authz"
    if MODEL_SPACE not in texts(chain.config.get("metadata_context_namespaces")):
        lost = "authz is not shown the model of a body"
        yield wanted, lost, f"metadata_context_namespaces: [{MODEL_SPACE}] of ext_authz"
    for one in found:
        text = _source(one)
        if text and text != SOURCE:
            yield WARN, "the filter for LLMs is that of another version", advice
        if is_on(one.get("disabled")) and not _is_enabled(chain, str(one.get("name"))):
            fix = f"typed_per_filter_config of the route of an LLM: {one.get('name')}"
            yield WARN, "no route turns the filter for LLMs on", fix


def _ours(filters: Any) -> Iterator[Message]:
    """Yield the Lua filters that have our name or write our metadata."""
    for step in filters:
        if kind_of(within(step, "typed_config")).endswith("lua.v3.Lua") and (
            step.get("name") == NAME or f'"{USAGE_SPACE}"' in _source(step)
        ):
            yield step


def _source(step: Message) -> str:
    """Return the text of a Lua filter; empty if it is in a file."""
    config = within(step, "typed_config")
    text = at(config, "default_source_code", "inline_string") or config.get("inline_code")
    return text if isinstance(text, str) else ""


def _is_enabled(chain: Chain, name: str) -> bool:
    """Return whether a level of the route table has a configuration of the filter that is on."""
    if chain.unseen:
        return True
    found = (within(level.message, "typed_per_filter_config", name) for level in chain.levels)
    return any(one and not is_on(one.get("disabled")) for one in found)
