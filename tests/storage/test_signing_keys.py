"""Signing keys in the store: both halves, the view of a heartbeat, and backups without them."""

import io

from authz.storage.backup import Backup
from authz.storage.latest_meta import LatestMeta
from authz.storage.meta import entries
from authz.storage.schema import META_SIGNING
from authz.storage.sealed_lines import SealedWriter, read
from authz.storage.signing_keys import StoredSigningKeys
from authz.storage.verified_backup import verify
from tests.support.fakes import NOW, make_keyring

RING = make_keyring()


def test_the_latest_meta_has_the_entries():
    """A change of the entries is another object; the same entries are the same object."""
    meta = LatestMeta(RING.fingerprints, lambda: True)
    content = entries(RING.fingerprints)
    meta.update(content)
    none = meta.signing
    meta.update(content | {f"{META_SIGNING}k1": "one"})
    one = meta.signing
    meta.update(content | {f"{META_SIGNING}k1": "one"})

    assert (none, one) == ({}, {"k1": "one"})
    assert meta.signing is one
    meta.update(content)
    assert meta.signing == {}


async def test_a_backup_has_no_signing_keys(valkey):
    """A key that was removed later must not come back with a restore."""
    file = io.BytesIO()
    async with valkey.endpoint.client() as client:
        await client.hset("authz:meta", mapping=entries(RING.fingerprints))
        await StoredSigningKeys(client).add("k1", "entry", "sealed")
        await Backup(client, SealedWriter(file, RING.backup_keys[-1]).write).run(
            RING.fingerprints, NOW
        )
    whole = file.getvalue()

    found = verify(read(io.BytesIO(whole), RING.backup_keys), RING.fingerprints)
    assert not [name for name in found.meta if name.startswith(META_SIGNING)]
    assert b"sealed" not in whole
