"""StoredSigningKeys: the signing keys of tokens. Public halves lie in authz:meta."""

from collections.abc import Mapping

from authz.storage import schema
from authz.storage.endpoint import Client
from authz.storage.meta import signing_entries
from authz.storage.replies import checked


class StoredSigningKeys:
    """A SigningKeyStore and SigningKeyChanges on a client of the store.

    A key is usable only with both halves. So they are added in one step, and the private half is
    removed last.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._names = schema.names_of(client)

    async def entries(self) -> Mapping[str, str]:
        """Return the entries of public halves by key id. Raises Unavailable."""
        return signing_entries(await checked(self._client.hgetall(self._names.meta)))

    async def private_half(self, key_id: str) -> str | None:
        """Return the sealed private half of a key; None if there is none. Raises Unavailable."""
        found: str | None = await checked(self._client.hget(self._names.signing, key_id))
        return found

    async def add(self, key_id: str, entry: str, private_half: str) -> None:
        """Write both halves of a key in one step. Raises Unavailable."""
        pipeline = self._client.pipeline(transaction=True)
        pipeline.hset(self._names.signing, key_id, private_half)
        pipeline.hset(self._names.meta, f"{schema.META_SIGNING}{key_id}", entry)
        await checked(pipeline.execute())

    async def remove(self, key_id: str) -> bool:
        """Remove both halves of a key, the public one first. Return False if there was no such key.

        Raises Unavailable.
        """
        name = f"{schema.META_SIGNING}{key_id}"
        was_there = await checked(self._client.hdel(self._names.meta, name))
        await checked(self._client.hdel(self._names.signing, key_id))
        return bool(was_there)
