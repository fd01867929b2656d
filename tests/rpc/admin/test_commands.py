"""Every command that administers keys has its method, so that nobody needs a shell for it."""

from authz.rpc.admin.method_table import NEEDED
from tests.support.cli.commands import commands

METHODS = {
    "keys issue": ["Keys.CreateKey"],
    "keys show": ["Keys.GetKey"],
    "keys list": ["Keys.ListKeys"],
    "keys history": ["Keys.ListKeyHistory"],
    "keys update": ["Keys.UpdateKey", "Keys.ChangeKeys"],
    "keys rotate": ["Keys.RotateKey", "Keys.ChangeKeys"],
    "keys retire": ["Keys.RetireKeySecret"],
    "keys rollback": ["Keys.RollBackKey"],
    "keys revoke": ["Keys.RevokeKey", "Keys.ChangeKeys"],
    "keys disable": ["Keys.DisableKey", "Keys.ChangeKeys"],
    "keys enable": ["Keys.EnableKey", "Keys.ChangeKeys"],
    "keys delete": ["Keys.DeleteKey", "Keys.ChangeKeys"],
    "keys purge": ["Keys.ChangeKeys"],
    "keys verify": ["Keys.VerifyKey"],
    "keys import": ["Keys.ImportKeys"],
    "keys export": ["Keys.ExportKeys"],
    "keys due": [
        *("Policy.ListDueKeys", "Policy.ListRotationPolicies", "Policy.ListPendingDeliveries")
    ],
    "events list": ["Events.ListEvents"],
    "events dead": ["Events.ListEventSinks", "Events.ListDeadEvents"],
    "events replay": ["Events.ReplayEvents"],
    "tokens issue": ["Tokens.IssueToken"],
    "tokens inspect": ["Tokens.InspectToken"],
    "tokens keys list": ["Tokens.ListSigningKeys"],
    "tokens keys rotate": ["Tokens.RotateSigningKey"],
    "tokens keys remove": ["Tokens.DeleteSigningKey"],
    "keys limits": ["Limits.GetKeyLimits"],
    "keys reset-limits": ["Limits.ResetKeyLimits"],
    "keys refund": ["Limits.RefundKeyLimits"],
    "usage": ["Usage.ListUsage"],
    "usage cost": ["Usage.ListUsage"],
    "usage top": ["Usage.ListTopKeys"],
    "usage anomalies": ["Usage.ListAnomalies"],
    "usage erase": ["Usage.EraseUsage"],
    "sidecars": ["Fleet.ListSidecars"],
    "abuse list": ["Fleet.ListBlockedClients"],
    "abuse clear": ["Fleet.ClearBlockedClients"],
    "abuse allow": ["Fleet.AllowNetwork"],
    "audit list": ["Audit.ListAuditEntries"],
    "audit verify": ["Audit.VerifyAuditTrail"],
    "apply": ["Keys.CreateKey", "Keys.UpdateKey", "Keys.SaveAppliedKeys"],
    "diff": ["Keys.ExportKeys", "Keys.ExportAppliedKeys"],
}
# Commands of a machine: processes, files of an installation, and the store itself.
LOCAL = {
    *(
        "init",
        "serve",
        "admin",
        "meter",
        "dev",
        "doctor",
        "healthcheck",
        "backup",
        "restore",
        "reseal",
        "compact",
    ),
    *("config", "envoy", "completion"),
    "usage export",  # keeps its cursor on the machine
    "usage reconcile",  # reads a log of the machine; the API has what it compares with
    *("audit ship", "audit seal"),  # the process of the API seals; a copy is taken from the store
    "scan",  # reads files of the machine
    "events schema",  # of the program, not of an installation
}


def test_every_command_has_its_methods() -> None:
    """A new command needs its methods here, or a reason to be local."""
    found = {" ".join(path) for path, command in commands() if path and not _is_group(command)}
    unknown = {
        name for name in found - METHODS.keys() - LOCAL if name.partition(" ")[0] not in LOCAL
    }
    assert unknown == set()
    assert {name for names in METHODS.values() for name in names} <= NEEDED.keys()


def _is_group(command: object) -> bool:
    return bool(getattr(command, "commands", None)) or hasattr(command, "list_commands")
