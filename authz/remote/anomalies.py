"""Anomalies over the admin API."""

from typing import Any

from authz.core.errors import Unreadable
from authz.core.usage.anomalies.features import Feature, Gap, Reason
from authz.core.usage.anomalies.ports import Round, UnusualKeys
from authz.core.usage.anomalies.ranking import Ranked
from authz.core.usage.question import HOUR_MS
from authz.remote.records import kid_of, ms_of
from authz.rpc.pb.admin.v1 import usage_pb2


def unusual_keys(response: usage_pb2.ListAnomaliesResponse) -> UnusualKeys:
    """Return the keys of a response. Raises Unreadable for a word of a newer version."""
    try:
        keys = [(_ranked(one), one.client_id or None) for one in response.keys]
        judged = _judged(response.judged) if response.HasField("judged") else None
    except ValueError:
        raise Unreadable("the admin API sent a feature or a cause that is not known here") from None
    return UnusualKeys(keys, response.key_count, judged)


def _ranked(one: usage_pb2.KeyAnomaly) -> Ranked:
    reasons = [
        Reason(_feature(each.feature), each.observed, each.expected, each.strength)
        for each in one.reasons
    ]
    first, last = (ms_of(at) // HOUR_MS for at in (one.first_time, one.last_time))
    return Ranked(kid_of(one.name), first, last, {each.feature: each for each in reasons})


def _judged(one: usage_pb2.JudgedHour) -> Round:
    gaps = {(_feature(each.feature), Gap(each.cause)): each.key_count for each in one.not_judged}
    hour = ms_of(one.start_time) // HOUR_MS
    return Round(hour, keys=one.key_count, anomalies=one.anomaly_count, gaps=gaps)


def _feature(number: Any) -> Feature:
    name = usage_pb2.AnomalyFeature.Name(number)
    return Feature(name.removeprefix("ANOMALY_FEATURE_").lower())
