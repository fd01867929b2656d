"""Anomalies as messages."""

from authz.core.usage.anomalies.features import Feature
from authz.core.usage.anomalies.ports import Round, UnusualKeys
from authz.core.usage.anomalies.ranking import Ranked
from authz.core.usage.question import HOUR_MS
from authz.rpc.admin.values import name_of, timestamp
from authz.rpc.pb.admin.v1 import usage_pb2


def unusual_message(found: UnusualKeys) -> usage_pb2.ListAnomaliesResponse:
    """Return the keys whose hours are unusual."""
    return usage_pb2.ListAnomaliesResponse(
        keys=[_key(ranked, client or "") for ranked, client in found.keys],
        key_count=found.count,
        judged=_judged(found.judged) if found.judged else None,
    )


def _key(ranked: Ranked, client: str) -> usage_pb2.KeyAnomaly:
    reasons = [
        usage_pb2.AnomalyReason(
            feature=_feature(one.feature),
            observed=one.observed,
            expected=one.expected,
            strength=one.strength,
        )
        for one in ranked.reasons.values()
    ]
    return usage_pb2.KeyAnomaly(
        name=name_of(ranked.kid),
        client_id=client,
        risk=f"ANOMALY_RISK_{ranked.risk.upper()}",
        reasons=reasons,
        score=ranked.score,
        first_time=timestamp(ranked.first * HOUR_MS),
        last_time=timestamp(ranked.last * HOUR_MS),
    )


def _judged(judged: Round) -> usage_pb2.JudgedHour:
    return usage_pb2.JudgedHour(
        start_time=timestamp(judged.hour * HOUR_MS),
        key_count=judged.keys,
        anomaly_count=judged.anomalies,
        not_judged=[
            usage_pb2.JudgedHour.NotJudged(feature=_feature(one), cause=why, key_count=number)
            for (one, why), number in sorted(judged.gaps.items())
        ],
    )


def _feature(feature: Feature) -> str:
    return f"ANOMALY_FEATURE_{feature.upper()}"
