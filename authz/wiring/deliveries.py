"""Composition root of rotations that deliver the new secret: their targets and their flow."""

import os
from functools import partial
from pathlib import Path
from typing import Final

from authz.core.errors import BadInput
from authz.core.keys.keyring import Keyring
from authz.core.ports import Clock
from authz.core.public_addresses import may_be_reached
from authz.flows.delivered_rotation import DeliveredRotation
from authz.flows.delivery_ports import Target
from authz.flows.lifecycle import Lifecycle
from authz.process.notification_receivers import read_secrets
from authz.process.secret_targets import (
    DirectoryTarget,
    KubernetesTarget,
    VaultTarget,
    WebhookTarget,
    in_cluster,
)
from authz.process.web_client import WebClient
from authz.settings import rotation
from authz.settings.model import Settings
from authz.wiring.store_parts import StoreParts
from authz.wiring.usage_readers import usage_sums

ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # of a pod


def delivered_rotation(
    settings: Settings,
    parts: StoreParts,
    lifecycle: Lifecycle,
    ring: Keyring,
    clock: Clock,
    *,
    only: str = "",
) -> DeliveredRotation:
    """Return the flow over the store.

    only: the one target of a command, which may run where the others cannot be used; empty: all.
    Raises BadInput for a target that cannot be used, and if there is no target `only`.
    """
    found = settings.rotation.targets
    if only and only not in found:
        known = ", ".join(sorted(found)) or "none"
        raise BadInput("--to", f"rotation.targets has no such name; it has {known}")
    wanted = {only: found[only]} if only else found
    targets = {name: _target(settings, name, one, clock) for name, one in wanted.items()}
    usage = usage_sums(parts)

    async def is_used(kid: str, secret: str) -> bool:
        return secret in (await usage.facts(kid)).secrets

    return DeliveredRotation(
        *(lifecycle, ring, parts.pending_deliveries, targets), is_used=is_used, clock=clock
    )


def _target(settings: Settings, name: str, one: rotation.Target, clock: Clock) -> Target:
    allowed = settings.rotation.allowed_networks
    client = WebClient(one.ca, permits=partial(may_be_reached, allowed=allowed))
    if one.kind == "kubernetes":
        if one.url is None:  # the address is that of the cluster itself, proved by its CA
            client = WebClient(one.ca or ACCOUNT / "ca.crt")
        api = one.url or in_cluster(os.environ)
        token_file = one.token_file or ACCOUNT / "token"
        place = {"namespace": one.namespace or "", "name": one.name, "entry": one.entry}
        return KubernetesTarget(client, api, token_file, **place)
    if one.kind == "vault" and one.url and one.token_file:
        place = {"mount": one.mount, "path": one.path, "namespace": one.vault_namespace}
        return VaultTarget(client, one.url, one.token_file, **place)
    if one.kind == "webhook" and one.url and one.secret_file:
        try:
            read_secrets(one.secret_file)
        except BadInput as cause:
            raise BadInput(f"rotation.targets.{name}.secret_file", cause.problem) from None
        return WebhookTarget(client, one.url, one.secret_file, clock)
    return DirectoryTarget(one.directory or Path())
