"""Imports over the admin API."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from authz.client import AdminClient, AdminError, admin_pb2
from authz.core.errors import BadInput
from authz.core.keys.credentials import Imported
from authz.core.keys.keyring import Keyring
from authz.core.keys.pepper import Pepper
from authz.core.past import Past
from authz.flows.importing import Clash, Done, Outcome, Wanted
from authz.remote.failures import fault_of
from authz.remote.records import kid_of
from authz.remote.requests import key_of
from authz.rpc.admin.values import timestamp
from authz.rpc.pb.admin.v1 import keys_pb2

Request = keys_pb2.ImportKeysRequest

# The field of a line for each field of an entry.
_FIELDS: Final = {
    "api_key": "key",
    "client_id": "client",
    "project_id": "project",
    "tenant_id": "tenant",
    "display_name": "name",
    "scopes": "scope",
    "limits": "limit",
    "expire_time": "expires-in",
}


class RemoteImporter:
    """KeyImporter over the admin API. Each batch is a call of its own.

    client: the blocking one, because grpcio's asyncio client may lose the reason of a refusal.
    """

    def __init__(self, client: AdminClient, address: str, note: str) -> None:
        self._client = client
        self._address = address
        self._note = note

    def ready(self, batch: Sequence[Wanted]) -> "RemoteBatch":
        """Return the request of a batch."""
        request = Request(entries=map(_entry, batch), note=self._note)
        return RemoteBatch(self._client, self._address, request)


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """A ReadyBatch over the admin API."""

    _client: AdminClient
    _address: str
    _request: Request

    async def put(self) -> list[Outcome]:
        """Import the batch and return one outcome for each key, in order."""
        return await self._send()

    async def rehearse(self) -> list[Outcome]:
        """Return the outcomes that `put` would return. Writes nothing."""
        self._request.validate_only = True
        return await self._send()

    async def _send(self) -> list[Outcome]:
        request = self._request

        def call() -> list[keys_pb2.ImportKeysResponse]:
            return list(self._client.keys.ImportKeys(iter([request])))

        try:
            (response,) = await asyncio.to_thread(call)
        except AdminError as error:
            may_be_made = not request.validate_only
            raise fault_of(error, self._address, may_be_made=may_be_made) from None
        return list(map(_outcome, response.outcomes))


def stand_in(found: admin_pb2.GetInstallationResponse) -> Keyring:
    """Return a keyring with the key prefixes of the server, and with a random pepper.

    It proves no key. Equal digests under it show lines of one import that have the same key.
    """
    pepper = Pepper.expand("0", os.urandom(32))
    older, imported = found.older_key_prefixes, found.imported_prefixes
    public = found.public_key_prefix or found.key_prefix  # empty: of an older server, too
    return Keyring(found.key_prefix, [pepper], tuple(older), tuple(imported), public_prefix=public)


def _entry(wanted: Wanted) -> Request.Entry:
    entry = Request.Entry(key=key_of(wanted.spec))
    if isinstance(wanted.key, Imported):
        entry.api_key = wanted.key.reveal()
    else:
        entry.sha256 = wanted.key.reveal()
    if wanted.past is not None:
        entry.past.CopyFrom(_past(wanted.past))
    return entry


def _past(past: Past) -> Request.Past:
    message = Request.Past(status=f"STATUS_{past.status.name}")
    if past.created_at is not None:
        message.create_time.CopyFrom(timestamp(past.created_at))
    if past.expires_at is not None:
        message.expire_time.CopyFrom(timestamp(past.expires_at))
    return message


def _outcome(one: keys_pb2.ImportKeysResponse.Outcome) -> Outcome:
    kid = kid_of(one.name) if one.name else ""
    if not one.error:
        return Done(kid, one.already_there)
    bare = one.error_field.removeprefix("key.")
    field = _FIELDS.get(bare, bare)
    return Clash(kid, field, one.error) if one.already_there else BadInput(field, one.error)
