"""The `meter` section: counting usage from Envoy's access logs."""

from typing import Annotated

from authz.core.listen_address import Address
from authz.settings.parsers import Between
from authz.settings.sections import Section
from authz.settings.tls import Tls
from authz.settings.values import File, Fingerprint, Listen, Mode, seconds


class Retention(Section):
    """How long counts of usage are kept, in seconds, by the span that they count."""

    minutes: Annotated[float, seconds("10m", "2d")] = 7_200.0
    hours: Annotated[float, seconds("3d", "1000d")] = 35 * 86_400.0
    days: Annotated[float, seconds("30d", "4000d")] = 395 * 86_400.0
    months: Annotated[float, seconds("60d", "10000d")] = 1_830 * 86_400.0


class Meter(Section):
    """The meter: takes Envoy's access logs and counts usage."""

    listen: Listen = Address("127.0.0.1", 9195)
    ops_listen: Listen = Address("127.0.0.1", 9196)
    socket_mode: Mode = 0o660
    tls: Tls | None = None
    token_file: File | None = None
    allow_plaintext: bool = False
    max_message_bytes: Annotated[int, Between(65_536, 4_194_304)] = 262_144
    max_waiting_mib: Annotated[int, Between(1, 4_096)] = 64
    commit_interval: Annotated[float, seconds("10ms", "5s")] = 0.25
    pepper_fingerprint: Fingerprint = ""
    drain: Annotated[float, seconds("0", "5m")] = 10.0
    retention: Retention = Retention()
