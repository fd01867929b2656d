"""The report of `authz scan`: as text, as JSON and as SARIF. It holds no secret."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from authz import __version__
from authz.cli.counted import counted
from authz.cli.terminal import escaped
from authz.core.records import Status
from authz.flows.identification import Identity, Standing
from authz.process.searched_files import Found

RULE: Final = "authz-api-key"
POSSIBLE_RULE: Final = "authz-imported-api-key"
SARIF_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
SHORT_COMMIT: Final = 12
_RULES: Final = {
    RULE: "An API key of this installation",
    POSSIBLE_RULE: "A text that begins like an imported API key",
}


@dataclass(slots=True)
class Report:
    """Everything that a scan found, and everything that it could not read.

    masked: replaces the keys in a text. identities: by the text of a key; empty without a store.
    """

    masked: Callable[[str], str]
    found: list[Found] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    identities: dict[str, Identity] = field(default_factory=dict, repr=False)
    revoked: set[str] = field(default_factory=set)
    files: int = 0
    objects: int = 0
    bytes_read: int = 0
    asked_store: bool = False

    def problem(self, path: str, why: str) -> None:
        """Remember a place that could not be read."""
        self.problems.append((self.masked(path), why))

    def is_leak(self, one: Found) -> bool:
        """Return whether a key is none of the publishable ones."""
        identity = self._identity(one)
        return not (one.hit.sighting.public or (identity is not None and identity.public))

    @property
    def leaks(self) -> list[Found]:
        """Everything that was found, without publishable keys."""
        return [one for one in self.found if self.is_leak(one)]

    def document(self) -> dict[str, Any]:
        """Return the report as members of JSON."""
        return {
            "found": [self._finding(one) for one in self.found],
            "problems": [{"path": path, "problem": why} for path, why in self.problems],
            "files": self.files,
            "objects": self.objects,
            "bytes": self.bytes_read,
            "asked_store": self.asked_store,
        }

    def text(self) -> str:
        """Return the report as lines: one for each key and place, and a summary."""
        lines = [self._line(one) for one in self.found]
        read = [counted(self.files, "file")]
        read += [counted(self.objects, "object of git")] if self.objects else []
        about = f"searched {' and '.join(read)}"
        leaks = self.leaks
        published = len(self.found) - len(leaks)
        if published:
            about = f"{counted(published, 'place')} with a publishable key; {about}"
        if leaks:
            distinct = len({self._kid(one) or one.hit.sighting.reveal() for one in leaks})
            lines.append(f"{counted(distinct, 'key')} in {counted(len(leaks), 'place')}; {about}")
        else:
            lines.append(f"no {'secret ' if published else ''}key was found; {about}")
        return "\n".join(lines)

    def sarif(self) -> dict[str, Any]:
        """Return the report as SARIF 2.1.0, for the code scanning of a forge."""
        rules = [{"id": rule, "shortDescription": {"text": t}} for rule, t in _RULES.items()]
        driver = {
            "name": "authz scan",
            "version": __version__,
            "informationUri": "https://pypi.org/project/envoy-authz/",
            "rules": rules,
        }
        return {
            "$schema": SARIF_SCHEMA,
            "version": "2.1.0",
            "runs": [
                {
                    "tool": {"driver": driver},
                    "results": [self._result(one) for one in self.leaks],
                    "invocations": [
                        {
                            "executionSuccessful": not self.problems,
                            "toolExecutionNotifications": [
                                {"level": "error", "message": {"text": escaped(f"{path}: {why}")}}
                                for path, why in self.problems
                            ],
                        }
                    ],
                }
            ],
        }

    def _finding(self, one: Found) -> dict[str, Any]:
        sighting, identity = one.hit.sighting, self._identity(one)
        record = identity.record if identity else None
        kid = self._kid(one)
        return {
            "kind": self._kind(one),
            "key": sighting.shown,
            "kid": kid or None,
            "path": self.masked(one.path),
            "line": one.line or None,
            "offset": one.hit.offset,
            "commit": one.commit or None,
            "object": one.thing or None,
            "standing": identity.standing.value if identity else None,
            "client": record.client_id if record else None,
            "status": record.status.value if record else None,
            "revoked_now": kid in self.revoked,
            **({"canary": True} if record and record.status is Status.CANARY else {}),
        }

    def _kid(self, one: Found) -> str:
        identity = self._identity(one)
        return one.hit.sighting.kid or (identity.kid if identity else "")

    def _kind(self, one: Found) -> str:
        if not self.is_leak(one):
            return "publishable"
        return "possible" if one.hit.sighting.is_possible else "key"

    def _line(self, one: Found) -> str:
        row = self._finding(one)
        place = f"{row['path']}:{one.line}" if one.line else row["path"]
        about = [f"commit {one.commit[:SHORT_COMMIT]}"] if one.commit else []
        if row["kind"] == "publishable":
            about.append("publishable, so no leak")
        elif one.hit.sighting.is_possible:
            about.append("perhaps an imported key")
        about += self._standing(row)
        text = f"{place}: {row['key']}"
        return escaped(f"{text} ({', '.join(about)})" if about else text)

    def _standing(self, row: dict[str, Any]) -> list[str]:
        if row["revoked_now"]:
            return [f"client {row['client']}" if row["client"] else "", "revoked now"]
        match row["standing"]:
            case None:
                return []
            case Standing.UNKNOWN:
                return ["not a key of this installation"]
            case Standing.UNPROVED:
                return ["its pepper is missing here, so it may be a key that works"]
            case Standing.ENDED:
                return [*_client(row), "no longer works"]
            case _ if row["status"] == Status.CANARY:
                return [*_client(row), "canary: it never works, and each use is reported"]
            case _:
                return [*_client(row), f"{row['status'] or 'its record cannot be read'}: it works"]

    def _result(self, one: Found) -> dict[str, Any]:
        row = self._finding(one)
        place: dict[str, Any] = {
            "artifactLocation": {"uri": quote(row["path"], errors="surrogateescape")}
        }
        if one.line:
            place["region"] = {"startLine": one.line}
        is_over = (
            row["standing"] in {Standing.ENDED, Standing.UNKNOWN} or row["status"] == Status.CANARY
        )
        return {
            "ruleId": POSSIBLE_RULE if row["kind"] == "possible" else RULE,
            "level": "warning" if is_over or row["kind"] == "possible" else "error",
            "message": {"text": escaped(self._line(one))},
            "locations": [{"physicalLocation": place}],
            "partialFingerprints": {"authzKey/v1": row["kid"] or row["key"]},
        }

    def _identity(self, one: Found) -> Identity | None:
        return self.identities.get(one.hit.sighting.reveal())


def _client(row: dict[str, Any]) -> list[str]:
    return [f"client {row['client']}"] if row["client"] else []
