"""ParquetFile: a file of billing records for analytics. It gets its name when it is complete.

pyarrow is an extra of the distribution, so `ParquetFile` imports it when it is made.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from authz.core.errors import BadInput, Unavailable
from authz.core.usage.billing.ports import Delivery
from authz.core.usage.billing.record import BillingRecord
from authz.core.usage.billing.texts import COLUMNS, document
from authz.core.usage.question import HOUR_MS

INSTALL: Final = "parquet needs pyarrow: pip install 'envoy-authz[parquet]'"


class ParquetFile:
    """A BillingSink. No record is safe before `finish` has returned.

    Raises BadInput if the file exists, or pyarrow is missing.
    """

    batch = 10_000

    def __init__(self, path: Path) -> None:
        self._arrow = _arrow()
        if path.exists():
            raise BadInput("--to", f"{path} exists; Parquet cannot be appended to, give a new name")
        self._path = path
        self._draft = path.with_name(f"{path.name}.part")
        self._writer: Any = None

    async def deliver(self, records: Sequence[BillingRecord]) -> Delivery:
        """Implement BillingSink.deliver."""
        try:
            await asyncio.to_thread(self._write, records)
        except OSError as cause:
            raise Unavailable(f"{self._draft}: {cause.strerror or cause}") from None
        return Delivery(is_safe=False)

    async def finish(self) -> None:
        """Implement BillingSink.finish. Without records there is no file."""
        if self._writer is None:
            return
        try:
            await asyncio.to_thread(self._close)
        except OSError as cause:
            raise Unavailable(f"{self._path}: {cause.strerror or cause}") from None

    def _write(self, records: Sequence[BillingRecord]) -> None:
        arrow, parquet = self._arrow
        schema = _schema(arrow)
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._draft, schema, compression="zstd")
        rows = [document(record) | {"hour": record.hour * HOUR_MS} for record in records]
        self._writer.write_table(arrow.Table.from_pylist(rows, schema=schema))

    def _close(self) -> None:
        self._writer.close()
        handle = os.open(self._draft, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        os.link(self._draft, self._path)  # never over another file
        with suppress(OSError):
            self._draft.unlink()


def _arrow() -> tuple[ModuleType, ModuleType]:
    try:
        import pyarrow  # noqa: PLC0415  an extra, and slow to import
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise BadInput("--format", INSTALL) from None
    return pyarrow, parquet


def _schema(arrow: ModuleType) -> Any:
    numbers = {
        "hour": arrow.timestamp("ms", tz="UTC"),
        "quantity": arrow.int64(),
        "revision": arrow.int32(),
    }
    return arrow.schema([(name, numbers.get(name, arrow.string())) for name in COLUMNS])
