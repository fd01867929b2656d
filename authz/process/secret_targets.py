"""Targets of new secrets: a Secret of Kubernetes, Vault's key-value store, a webhook, a directory.

Each of them may be repeated. No text of a response and no secret gets into an error.
"""

import asyncio
import os
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from authz.core import delivery
from authz.core.delivery import Parcel, Undelivered
from authz.core.errors import BadInput, Unavailable
from authz.core.notifications.bodies import webhook_headers
from authz.core.ports import Clock
from authz.process.notification_receivers import read_secrets
from authz.process.web_client import SECONDS, WebClient, WebResponse
from authz.process.work_thread import WorkThread

JSON: Final = "application/json"
# The answer is the whole Secret: at most 1 MiB, in base64, and a field manager for each key.
MAX_SECRET_ANSWER: Final = 4 * 1024 * 1024  # bytes
# Seconds. No caller waits so long for its temporary file.
STALE: Final = 600.0
# Those of earlier builds have no random part.
_TEMPORARY: Final = re.compile(r"[0-9A-Za-z]{16}\.key(\.[0-9a-f]{16})?\.new", re.ASCII)
# A status with which a server may do later what it did not do now.
_LATER: Final = frozenset({408, 425, 429})
_CLIENT_ERRORS: Final = range(300, 500)


class KubernetesTarget:
    """Applies an entry of a Secret with the service account of the process (server-side apply)."""

    def __init__(
        self,
        client: WebClient,
        api: str,
        token_file: Path,
        *,
        namespace: str,
        name: str,
        entry: str,
    ) -> None:
        self._client = client
        self._api = api.rstrip("/")
        self._token_file = token_file
        self._namespace = namespace
        self._name = name
        self._entry = entry

    async def deliver(self, parcel: Parcel) -> None:
        """Implement Target.deliver."""
        path = delivery.kubernetes_path(parcel, self._namespace, self._name)
        body = delivery.kubernetes_body(parcel, self._name, self._entry)
        headers = {"content-type": delivery.PATCH_TYPE, "accept": JSON}
        headers |= {"authorization": f"Bearer {_token(self._token_file)}"}
        url = f"{self._api}{path}"
        response = await self._client.send(
            "PATCH", url, body=body, headers=headers, most=MAX_SECRET_ANSWER
        )
        _judge(response, lambda text: delivery.confirms_secret(text, parcel, self._name))


class VaultTarget:
    """Writes a secret to a key-value store of version 2, of Vault or OpenBao."""

    def __init__(
        self,
        client: WebClient,
        url: str,
        token_file: Path,
        *,
        mount: str,
        path: str,
        namespace: str = "",
    ) -> None:
        self._client = client
        self._url = url.rstrip("/")
        self._token_file = token_file
        self._mount = mount
        self._path = path
        self._namespace = namespace

    async def deliver(self, parcel: Parcel) -> None:
        """Implement Target.deliver."""
        url = f"{self._url}{delivery.vault_path(parcel, self._mount, self._path)}"
        headers = {"content-type": JSON, "x-vault-request": "true"}
        headers |= {"x-vault-token": _token(self._token_file)}
        if self._namespace:
            headers["x-vault-namespace"] = self._namespace
        body = delivery.vault_body(parcel)
        response = await self._client.send("POST", url, body=body, headers=headers)
        _judge(response, delivery.confirms_version)


class WebhookTarget:
    """Posts a secret, signed by Standard Webhooks. secret_file: read at each delivery."""

    def __init__(self, client: WebClient, url: str, secret_file: Path, clock: Clock) -> None:
        self._client = client
        self._url = url
        self._secret_file = secret_file
        self._clock = clock

    async def deliver(self, parcel: Parcel) -> None:
        """Implement Target.deliver."""
        body = delivery.webhook_body(parcel)
        try:
            signing = read_secrets(self._secret_file)
        except BadInput as cause:
            raise Unavailable(str(cause)) from None
        seconds = self._clock.wall_ms() // 1000
        headers = webhook_headers(parcel.delivery_id, body, signing, seconds)
        headers = {"content-type": JSON, **headers}
        _judge(await self._client.send("POST", self._url, body=body, headers=headers))


class DirectoryTarget:
    """Writes KID.key of mode 0600 into a directory that only its owner may write to.

    seconds: for one file. A disk of another machine may hang, so a thread writes the files, one
    after the other, and the process ends without it. A command and `authz admin` may deliver at
    once, so each delivery has a temporary file of its own, KID.key.RANDOM.new. A delivery also
    removes those of processes that ended meanwhile, once they are STALE (10 minutes) old.
    """

    def __init__(self, directory: Path, seconds: float = SECONDS) -> None:
        self._directory = directory
        self._seconds = seconds
        self._thread = WorkThread("secrets")

    async def deliver(self, parcel: Parcel) -> None:
        """Implement Target.deliver: the file is there wholly, or as before."""
        given_up = threading.Event()
        writing = self._thread.begin(partial(self._write, parcel, given_up))
        if writing is None:
            raise Unavailable(f"{self._directory}: an earlier write still hangs")
        try:
            await asyncio.wait_for(writing, self._seconds)
        except TimeoutError:
            problem = f"{self._directory}: not written within {self._seconds:g} s"
            raise Unavailable(problem) from None
        finally:
            given_up.set()

    def _write(self, parcel: Parcel, given_up: threading.Event) -> None:
        try:
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if os.fstat(directory).st_mode & 0o022:
                    raise Undelivered(f"others may write to {self._directory}")
                _replace(directory, f"{parcel.kid}.key", f"{parcel.text}\n", given_up)
            finally:
                os.close(directory)
        except OSError as cause:
            raise Unavailable(f"{self._directory}: {cause.strerror}") from None


def _replace(directory: int, name: str, text: str, given_up: threading.Event) -> None:
    """Give a file of a directory its new text, at once. Without an effect if given_up is set.

    A writer that was given up must not replace a newer secret with that of an ended rotation.
    """
    new = f"{name}.{secrets.token_hex(8)}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(new, flags, 0o600, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), 0o600)
            made_at = os.fstat(file.fileno()).st_mtime  # by the clock of the disk
            _remove_stale(directory, made_at - STALE)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if given_up.is_set():
            return
        os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)  # the names, as the old secret may end a moment later
    finally:
        with suppress(OSError):  # it has its name
            os.unlink(new, dir_fd=directory)


def _remove_stale(directory: int, before: float) -> None:
    """Remove temporary files that were written before a time, in seconds of the disk's clock."""
    for name in os.listdir(directory):
        if _TEMPORARY.fullmatch(name):
            with suppress(OSError):  # another process removed it
                if os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime < before:
                    os.unlink(name, dir_fd=directory)


def in_cluster(environ: Mapping[str, str]) -> str:
    """Return the URL of the Kubernetes API for a pod. Raises BadInput outside of a cluster."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT")
    if not host:
        raise BadInput("rotation.targets", "not in a cluster: give url, token_file and ca")
    shown = f"[{host}]" if ":" in host else host
    return f"https://{shown}:{port or 443}"


def _token(file: Path) -> str:
    try:
        text = file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        raise Unavailable(f"{file} cannot be read") from None
    if not text or not text.isprintable():
        raise Unavailable(f"{file} has no token")
    return text


def _judge(response: WebResponse, confirms: Callable[[bytes], bool] | None = None) -> None:
    """Raise Undelivered for a refusal, Unavailable if another try may succeed.

    confirms: whether the body of a response without an error is that of the target; None: any is.
    """
    problem = f"the target answered {response.status}"
    if response.is_ok:
        if confirms is None or confirms(response.body):
            return
        raise Unavailable(f"{problem}, and does not say that it has the secret")
    if response.status in _CLIENT_ERRORS and response.status not in _LATER:
        raise Undelivered(problem)
    raise Unavailable(problem)
