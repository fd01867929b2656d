"""--secrets-to DIR|k8s-secret: the place of the secrets of new keys, ready before the store is."""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import click

from authz.cli.options import path_such_as
from authz.cli.secret_files import FIELD, SecretDirectory
from authz.core.errors import BadInput, Unavailable
from authz.flows.command_ports import SecretSink

KUBERNETES: Final = re.compile(r"k8s-secret(?::([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?))?", re.ASCII)
PATIENCE: Final = 30  # seconds for kubectl


class KubernetesSecrets:
    """A Secret `authz-KID` for each key, with the data `kid` and `key`, made by kubectl.

    The name of a Secret is in lower case, so the kid is in hexadecimal. namespace: empty for the
    one of the context of kubectl.
    """

    def __init__(self, namespace: str) -> None:
        """Find kubectl, and do not run it. Raises BadInput if it is not in PATH."""
        found = shutil.which("kubectl")
        if found is None:
            raise BadInput(FIELD, "k8s-secret needs kubectl, which is not in PATH")
        self._kubectl = [found, *(["--namespace", namespace] if namespace else [])]

    def prepare(self, kid: str, text: str) -> None:
        """Create the Secret. Raises Unavailable with the words of kubectl, or after 30 s."""
        data = {
            name: base64.b64encode(value.encode()).decode()
            for name, value in (("kid", kid), ("key", text))
        }
        manifest = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name_of(kid), "labels": {"app.kubernetes.io/managed-by": "authz"}},
            "type": "Opaque",
            "data": data,
        }
        self._run(["create", "-f", "-"], json.dumps(manifest))

    def keep(self, kid: str) -> None:
        """Do nothing: the Secret is there."""

    def discard(self, kid: str) -> None:
        """Delete the Secret. Raises Unavailable with the words of kubectl, or after 30 s."""
        self._run(["delete", "secret", name_of(kid)], "")

    def _run(self, arguments: list[str], given: str) -> None:
        try:
            done = subprocess.run(  # noqa: S603  a fixed command, and the secret goes to its stdin
                [*self._kubectl, *arguments],
                input=given,
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE,
            )
        except (OSError, subprocess.TimeoutExpired) as cause:
            raise Unavailable(f"{FIELD}: kubectl: {type(cause).__name__}") from None
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["failed"]
            raise Unavailable(f"{FIELD}: kubectl: {lines[0][:200]}")


def name_of(kid: str) -> str:
    """Return the name of the Secret of a key: `authz-` and the kid's bytes in hexadecimal."""
    return f"authz-{kid.encode().hex()}"


def _sink(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> SecretSink | None:
    text = path_such_as("./secrets")(context, parameter, value)
    if text is None:
        return None
    match = KUBERNETES.fullmatch(text)
    return KubernetesSecrets(match[1] or "") if match else SecretDirectory(Path(text))


sink_option = click.option(
    "--secrets-to",
    metavar="DIR|k8s-secret[:NAMESPACE]",
    callback=_sink,
    help="New keys: write each secret to DIR/KID.key, or to a Secret by kubectl.",
)
