"""Composition root of reports of leaked keys: the endpoints of `authz admin`."""

from collections import Counter
from hashlib import sha256
from pathlib import Path

from authz.console.leak_reports import GITHUB, SIGNED, LeakEndpoint, Proof, leak_routes
from authz.console.login.site import Routes
from authz.core.errors import BadInput, Unavailable
from authz.core.http_exchange import HttpRequest
from authz.core.keys.keyring import Keyring
from authz.core.leaks import Done
from authz.core.notifications.bodies import WEBHOOK_HEADERS, is_signed
from authz.core.ports import Clock, PepperProof
from authz.core.trail.ports import TrailNotes
from authz.flows.automatic_rotation import PolicyRotation
from authz.flows.identification import Identification
from authz.flows.leak_reports import LeakPolicy, LeakReports
from authz.flows.lifecycle import Lifecycle
from authz.identity.github_keys import KEYS_URL, GithubKeys
from authz.identity.signing_keys import located
from authz.process.notification_receivers import read_secrets
from authz.process.web_client import WebClient
from authz.settings.model import Settings
from authz.storage.leak_memory import StoredLeakMemory
from authz.storage.trail import StoredRows
from authz.wiring.deliveries import delivered_rotation
from authz.wiring.store_parts import StoreParts


def leak_endpoints(
    settings: Settings,
    parts: StoreParts,
    *,
    ring: Keyring,
    peppers: PepperProof,
    notes: TrailNotes,
    clock: Clock,
    counts: Counter[Done],
    github_keys: str = KEYS_URL,
) -> dict[str, LeakEndpoint]:
    """Return the endpoints for reports by their paths; empty if the settings have none.

    Reports belong to no key: what is remembered of them lies in partition 0. github_keys: the URL
    of GitHub's keys. Raises BadInput if leaks.secret_file cannot be used.
    """
    section, lifecycle = settings.leaks, Lifecycle(parts.keys, ring, clock)
    deliveries = delivered_rotation(settings, parts, lifecycle, ring, clock)
    overlap_ms = round(section.rotate_overlap * 1000)
    reports = LeakReports(
        Identification(ring, parts.index, parts.imports, clock, peppers=peppers),
        lifecycle,
        batches=parts.batches,
        notes=notes,
        memory=parts.following(lambda found: found.at_first(StoredLeakMemory)),
        rotation=PolicyRotation(deliveries, settings.rotation.policies(), clock),
        policy=LeakPolicy(section.responses(), section.max_per_hour, overlap_ms),
        clock=clock,
        counts=counts,
    )
    found = {}
    if section.github:
        signed = _by_github(GithubKeys(located(WebClient(), github_keys), clock))
        found[GITHUB] = LeakEndpoint("github", signed, reports, clock)
    if section.secret_file is not None:
        try:
            read_secrets(section.secret_file)
        except BadInput as cause:
            raise BadInput("leaks.secret_file", cause.problem) from None
        found[SIGNED] = LeakEndpoint(
            "report", _by_secret(section.secret_file, clock), reports, clock
        )
    return found


def _by_github(keys: GithubKeys) -> Proof:
    async def proof(request: HttpRequest) -> str:
        key_id = request.header("github-public-key-identifier")
        signature = request.header("github-public-key-signature")
        if not key_id or not await keys.has_signed(key_id, signature, request.body):
            return ""
        return f"github {sha256(request.body).hexdigest()}"

    return proof


def _by_secret(file: Path, clock: Clock) -> Proof:
    async def proof(request: HttpRequest) -> str:
        try:
            secrets = read_secrets(file)
        except BadInput as cause:
            raise Unavailable(str(cause)) from None
        headers = {name: request.header(name) for name in WEBHOOK_HEADERS}
        is_right = is_signed(headers, request.body, secrets, clock.wall_ms() // 1000)
        # Scanners may count their reports alike, each from 1: the id alone names none.
        digest = sha256(request.body).hexdigest()
        return f"report {headers['webhook-id']} {digest}" if is_right else ""

    return proof


def leak_pages(
    settings: Settings,
    parts: StoreParts,
    ring: Keyring,
    *,
    peppers: PepperProof,
    clock: Clock,
    counts: Counter[Done],
) -> Routes:
    """Return the routes of the endpoints. Raises BadInput as `leak_endpoints`."""
    found = leak_endpoints(
        *(settings, parts),
        ring=ring,
        peppers=peppers,
        notes=parts.following(lambda found: found.at_first(StoredRows)),
        clock=clock,
        counts=counts,
    )
    return leak_routes(found)
