"""Repeatable requests: a request with the same id gets the same answer for a day (AIP-155).

Before the change, the store remembers a random seed under the id. Kid, secret and change id follow
from the seed, so every repetition makes the same change, and the store applies a change once. It
does not matter at which point an earlier request ended.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Final

from authz.core.admin_ports import RequestStore
from authz.core.changes import Author
from authz.core.errors import BadInput, Unreadable
from authz.core.keys.keyring import Keyring
from authz.core.keys.seed import Seed

KEPT_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a repeatable request.

    is_repeated: an earlier try had the same id. It may have ended before its change was made.
    newest_secret: the number of the key's newest secret at the first try; 0 for a new key.
    """

    seed: Seed
    is_repeated: bool = False
    newest_secret: int = 0


@dataclass(frozen=True, slots=True)
class Repeatable:
    """The identity of a request. content: the same bytes for the same request."""

    method: str
    request_id: str
    content: bytes


class RepeatableRequests:
    """Remembers requests in the store for 24 h, by a hash of caller, method and request id."""

    def __init__(self, store: RequestStore, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring

    async def begin(
        self, request: Repeatable, author: Author, newest_secret: int = 0
    ) -> tuple[Attempt, Author]:
        """Return the attempt, and the author with the change id of the request.

        The first try is stored. A later one gets the seed and the `newest_secret` of the first.
        Raises BadInput if the id was used for another content, Unreadable if the store's entry is
        garbled, Unavailable if the store fails or the pepper of the first try is missing.
        """
        new = self._keyring.new_seed()
        content = hashlib.sha256(request.content).hexdigest()
        entry = {
            "seed": new.random.hex(),
            "pepper": new.pepper_version,
            "content": content,
            "newest_secret": newest_secret,
        }
        name = _name(author.actor, request)
        stored = await self._store.remember(name, json.dumps(entry), KEPT_MS)
        attempt = Attempt(new, newest_secret=newest_secret)
        if stored is not None:
            attempt, first_content = _read(stored)
            if first_content != content:
                problem = "was used for another request within 24 h; use a new id"
                raise BadInput("request_id", problem)
        return attempt, replace(author, change_id=self._keyring.change_id(attempt.seed))


def _name(actor: str, request: Repeatable) -> str:
    parts = (actor, request.method, request.request_id)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _read(text: str) -> tuple[Attempt, str]:
    try:
        found = json.loads(text)
        seed = Seed(bytes.fromhex(found["seed"]), str(found["pepper"]))
        return Attempt(seed, True, int(found["newest_secret"])), str(found["content"])
    except (ValueError, TypeError, KeyError):
        raise Unreadable("the entry of this request id in the store is garbled") from None
