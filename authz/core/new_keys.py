"""New keys, as changes: issued by us, or imported. Nothing is performed here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from authz.core.audit import Action
from authz.core.changes import Author, KeyChange, planned, secret_of
from authz.core.errors import BadInput
from authz.core.fields import Network
from authz.core.keys.credentials import Minted
from authz.core.limits.limit import Limit, OnOutage
from authz.core.past import Past
from authz.core.public_keys import completed
from authz.core.records import KeyRecord, Secret, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySpec:
    """The fields of a new key, checked by `core.fields`. Times are ms since the epoch."""

    client_id: str
    env: str
    name: str = ""
    project_id: str = ""
    tenant_id: str = ""
    plan: str = ""
    limits: tuple[Limit, ...] = ()
    on_outage: OnOutage | None = None  # of the limits; None: the setting of each sidecar
    scopes: frozenset[str] = frozenset()
    not_before: int | None = None
    life_ms: int | None  # None: it does not expire, unless `expires_at` is given
    expires_at: int | None = None  # instead of life_ms
    allowed_cidrs: tuple[Network, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    outage_grace: int | None = None  # milliseconds; None: the setting of each sidecar
    public: bool = False  # a publishable key; see core/public_keys.py
    is_canary: bool = False  # a decoy that never works and has no end


def issue(spec: KeySpec, minted: Minted, author: Author, now: int) -> KeyChange:
    """Plan a new key with one secret, the minted one: active, or a canary key.

    A publishable key without limits and without a plan gets PUBLIC_LIMITS. `now`: ms since the
    epoch. Raises BadInput if it would expire at or before `now` or `spec.not_before`, if a canary
    key would have an end, or if a publishable key has no origin.
    """
    if spec.is_canary and not (spec.life_ms is None and spec.expires_at is None):
        raise BadInput("expires-in", "a canary key has no end; leave it out")
    return _begin(Action.ISSUE, spec, minted.kid, secret_of("1", minted, now), author)


def import_key(
    spec: KeySpec,
    kid: str,
    digests: Sequence[tuple[str, bytes]],
    author: Author,
    now: int,
    *,
    older: Sequence[tuple[str, bytes]] = (),
    past: Past | None = None,
) -> KeyChange:
    """Plan a new key with an imported secret. The record holds the newest digest.

    digests: pepper version and digest, newest pepper first, at least one. older: the same in the
    form that earlier versions stored. All become `aliases` of the change, so that neither form of
    the key can be imported twice. past: its state in the other system, in place of an active one.
    `now`: ms since the epoch. Raises BadInput if the key would expire before it begins, was
    created after `now`, or is publishable and has no origin.
    """
    version, digest = digests[0]
    secret = Secret("1", digest, version, now)
    change = _begin(Action.IMPORT, spec, kid, secret, author)
    change = replace(change, aliases=tuple(known for _, known in (*digests, *older)))
    if past is None:
        return change
    record = past.applied_to(change.record, now)
    detail = {"expires_at": record.expires_at, "status": record.status.value}
    event = replace(change.event, detail={**change.event.detail, **detail})
    return replace(change, record=record, event=event)


def _begin(action: Action, spec: KeySpec, kid: str, secret: Secret, author: Author) -> KeyChange:
    now = secret.created_at
    expires_at = spec.expires_at if spec.life_ms is None else now + spec.life_ms
    if expires_at is not None and expires_at <= max(now, spec.not_before or now):
        raise BadInput(
            "expires-in",
            "the key would expire before it begins; give it a longer life, such as 90d",
        )
    record = KeyRecord(
        kid=kid,
        version=0,
        status=Status.CANARY if spec.is_canary else Status.ACTIVE,
        env=spec.env,
        name=spec.name,
        client_id=spec.client_id,
        project_id=spec.project_id,
        tenant_id=spec.tenant_id,
        plan=spec.plan,
        limits=spec.limits,
        on_outage=spec.on_outage,
        scopes=spec.scopes,
        secrets=(secret,),
        created_at=now,
        not_before=spec.not_before,
        expires_at=expires_at,
        allowed_cidrs=spec.allowed_cidrs,
        allowed_hosts=spec.allowed_hosts,
        allowed_origins=spec.allowed_origins,
        metadata=spec.metadata,
        outage_grace=spec.outage_grace,
        public=spec.public,
    )
    record = completed(record)
    return planned(
        None, record, action, author, now, client_id=spec.client_id, expires_at=expires_at
    )
