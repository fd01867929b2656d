"""The receiver of `authz usage export`, from its options."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from authz.cli.bounded_file import read_ascii
from authz.cli.invocation import write_stdout
from authz.core import fields
from authz.core.errors import BadInput
from authz.core.usage.billing import texts
from authz.core.usage.billing.customers import Customers, CustomerTable, read_table
from authz.core.usage.billing.ports import BillingSink, Delivery
from authz.core.usage.billing.record import BillingRecord
from authz.core.web_address import check_url
from authz.flows.usage.billing import Receiver
from authz.process import stripe
from authz.process.billing_sinks import Encode, EventReceiver, LineFile, RepeatedPost
from authz.process.parquet_file import ParquetFile
from authz.process.web_client import WebClient

MAX_TABLE: Final = 64 << 20  # bytes: about a million customers
MAX_TOKEN_FILE: Final = 8192
SECONDS: Final = 30.0  # for a request
_STRIPE: Final = "stripe:"
_TEST_KEY: Final = "_test_"  # in a key of Stripe's API that bills nobody
_EVENT: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}", re.ASCII)
_TOKEN: Final = re.compile(r"[!-~]{1,4096}", re.ASCII)


class Format(StrEnum):
    """The formats of records."""

    JSONL = "jsonl"
    CSV = "csv"
    CLOUDEVENTS = "cloudevents"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverOptions:
    """The options that say where records go.

    to: "" for stdout. source: of CloudEvents. cursor: the path of the cursor.
    """

    to: str
    form: Format | None
    token_file: str | None
    ca: str | None
    customer: str | None
    customers: str | None
    stripe_url: str
    source: str
    cursor: str | None

    @classmethod
    def of(cls, given: Mapping[str, Any], namespace: str) -> "ReceiverOptions":
        """Return the options of a command. namespace: of the names in the store, or empty."""
        return cls(
            to=given["to"] or "",
            form=Format(given["form"]) if given["form"] else None,
            token_file=given["token_file"],
            ca=given["ca"],
            customer=given["customer"],
            customers=given["customers"],
            stripe_url=given["stripe_url"],
            cursor=given["cursor"],
            source=f"authz/{namespace}" if namespace else "authz",
        )

    @property
    def is_file(self) -> bool:
        """Whether records go to a file."""
        return bool(self.to) and not self.is_web and not self.is_stripe

    @property
    def is_web(self) -> bool:
        """Whether records go over HTTP as CloudEvents."""
        return self.to.startswith(("https://", "http://"))

    @property
    def is_stripe(self) -> bool:
        """Whether records go to Stripe."""
        return self.to.startswith(_STRIPE)


class Stdout:
    """A BillingSink that writes to stdout. heading: its first line."""

    batch = 1000

    def __init__(self, encode: Encode, heading: bytes) -> None:
        self._encode = encode
        self._heading = heading

    async def deliver(self, records: Sequence[BillingRecord]) -> Delivery:
        """Implement BillingSink.deliver."""
        write_stdout((self._heading + self._encode(records)).decode().rstrip("\n"))
        self._heading = b""
        return Delivery()

    async def finish(self) -> None:
        """Implement BillingSink.finish."""


def receiver(options: ReceiverOptions) -> Receiver:
    """Return the receiver. Raises BadInput about an option."""
    if options.is_stripe:
        return _stripe(options)
    for name, value in (("--customer", options.customer), ("--customers", options.customers)):
        if value is not None:
            raise BadInput(name, "is for --to stripe:EVENT_NAME")
    if options.is_web:
        target = urlsplit(options.to)._replace(query="").geturl()  # a query may hold a secret
        return Receiver(_events(options), target)
    for name, value in (("--token-file", options.token_file), ("--ca", options.ca)):
        if value is not None:
            raise BadInput(name, "is for a receiver over HTTP")
    return Receiver(_lines(options))


def _lines(options: ReceiverOptions) -> BillingSink:
    if "://" in options.to or not options.to.isprintable():
        problem = f"{fields.shown(options.to)}: a file, https://HOST/PATH or stripe:EVENT_NAME"
        raise BadInput("--to", problem)
    if options.to and options.cursor and _is_of_cursor(Path(options.to), Path(options.cursor)):
        raise BadInput("--to", f"{options.to} is a file of the cursor; give another one")
    form = options.form or Format.JSONL
    if form is Format.PARQUET:
        if not options.to:
            raise BadInput("--format", "parquet needs a file: --to usage.parquet")
        return ParquetFile(Path(options.to))
    heading = texts.CSV_HEADING.encode() if form is Format.CSV else b""
    encode: Encode = {
        Format.JSONL: texts.json_lines,
        Format.CSV: texts.csv_rows,
        Format.CLOUDEVENTS: lambda records: texts.event_lines(records, options.source),
    }[form]
    return LineFile(Path(options.to), encode, heading) if options.to else Stdout(encode, heading)


def _is_of_cursor(file: Path, cursor: Path) -> bool:
    """Return whether a file is the cursor, or one that SQLite writes and removes beside it."""
    return file.resolve() in {
        Path(f"{cursor.resolve()}{end}") for end in ("", "-journal", "-wal", "-shm")
    } or (file.exists() and cursor.exists() and file.samefile(cursor))


def _events(options: ReceiverOptions) -> BillingSink:
    if options.form not in {None, Format.CLOUDEVENTS}:
        raise BadInput("--format", "over HTTP it is cloudevents")
    token = _token(options.token_file) if options.token_file else ""
    url = check_url("--to", options.to)
    return EventReceiver(
        _post(options), url, lambda records: texts.event_batch(records, options.source), token
    )


def _stripe(options: ReceiverOptions) -> Receiver:
    event = options.to.removeprefix(_STRIPE)
    if not _EVENT.fullmatch(event):
        raise BadInput("--to", f"{fields.shown(event)} is not the event name of a meter of Stripe")
    if options.form is not None:
        raise BadInput("--format", "is not for Stripe, which has one of its own")
    if options.cursor is None:
        raise BadInput("--cursor", "is needed: after a day Stripe counts a repeated event again")
    if options.token_file is None:
        raise BadInput("--token-file", "is needed: a file with a key of Stripe's API")
    if options.customer is None and options.customers is None:
        raise BadInput("--customer", "or --customers is needed: whom Stripe shall bill")
    if options.customer is not None and not fields.is_metadata_name(options.customer):
        raise BadInput("--customer", "is the name in the metadata of keys, such as stripe_customer")
    table = _table(options.customers)
    api = check_url("--stripe-url", options.stripe_url)
    key = _token(options.token_file)
    return Receiver(
        stripe.StripeMeter(_post(options), event, key, api),
        f"{options.to}{' in test mode' if _TEST_KEY in key else ''}",
        Customers(options.customer or "", table),
        stripe.FORGETS_MS,
        stripe.MAX_AGE_HOURS,
    )


def _post(options: ReceiverOptions) -> RepeatedPost:
    return RepeatedPost(WebClient(Path(options.ca) if options.ca else None, SECONDS))


def _table(file: str | None) -> CustomerTable:
    if file is None:
        return {}
    return read_table("--customers", read_ascii("--customers", file, MAX_TABLE))


def _token(file: str) -> str:
    """Return the token of a file. It is a secret and in no error."""
    token = read_ascii("--token-file", file, MAX_TOKEN_FILE).strip()
    if not _TOKEN.fullmatch(token):
        raise BadInput("--token-file", f"{file} does not hold one token on one line")
    return token
