"""Sinks of the audit trail: a file, or a server over HTTP; and a cursor in a file."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from authz.core.errors import BadInput, Unavailable
from authz.core.trail.documents import lines
from authz.core.trail.rows import Row, position
from authz.process.appended_file import append_lines
from authz.process.web_client import WebClient


class FileSink:
    """Appends rows to a file as JSON Lines. Each delivery is on the disk when it returns.

    A line that an earlier process could not finish is removed first.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def deliver(self, rows: Sequence[Row]) -> None:
        """Append the rows and wait for the disk. Raises Unavailable if it cannot be written."""
        try:
            await asyncio.to_thread(append_lines, self._path, lines(rows))
        except OSError as cause:
            raise Unavailable(f"{self._path}: {cause.strerror}") from None


class WebSink:
    """Sends rows to a URL by POST. Any status from 200 to 299 means that they are safe."""

    def __init__(
        self,
        client: WebClient,
        url: str,
        encode: Callable[[Sequence[Row]], bytes],
        headers: Mapping[str, str],
    ) -> None:
        self._client = client
        self._url = url
        self._encode = encode
        self._headers = headers

    async def deliver(self, rows: Sequence[Row]) -> None:
        """Post the rows. Raises Unavailable without a response, or for another status."""
        response = await self._client.send(
            "POST", self._url, body=self._encode(rows), headers=self._headers
        )
        if not response.is_ok:
            raise Unavailable(f"the receiver of the audit trail answered {response.status}")


class FileCursor:
    """A Cursor in a file, which is replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> str:
        """Return the saved id; "" if there is no file, or an empty one.

        Raises BadInput if the file cannot be read or holds something else.
        """
        try:
            text = self._path.read_text(encoding="ascii").strip()
            if text:
                position(text)
        except FileNotFoundError:
            return ""
        except OSError as cause:
            raise BadInput("--cursor", f"{self._path}: {cause.strerror}") from None
        except ValueError:
            raise BadInput("--cursor", f"{self._path} holds no id; remove it to start") from None
        return text

    def save(self, row_id: str) -> None:
        """Write the id, and wait for the disk. Raises Unavailable if it cannot be written."""
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            with draft.open("w", encoding="ascii") as file:
                file.write(f"{row_id}\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError as cause:
            raise Unavailable(f"{self._path}: {cause.strerror}") from None
