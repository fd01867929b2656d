"""The Admin service: the caller, and the installation."""

from typing import Final

from authz.core.access import Kind
from authz.flows.admin_flows import AdminFlows
from authz.rpc.admin.call_context import CallContext
from authz.rpc.pb.admin.v1 import admin_pb2

_METHODS: Final = {
    Kind.OIDC: "oidc",
    Kind.CERTIFICATE: "certificate",
    Kind.KEY: "key",
    Kind.HOLDER: "key",
}


class InstallationService:
    """The methods of authz.admin.v1.Admin."""

    def __init__(self, flows: AdminFlows) -> None:
        self._flows = flows

    async def who_am_i(
        self, _request: admin_pb2.WhoAmIRequest, context: CallContext
    ) -> admin_pb2.WhoAmIResponse:
        """Return the caller, its role bindings, and the kind of its credential."""
        caller = context.caller
        return admin_pb2.WhoAmIResponse(
            subject=caller.actor,
            bindings=[
                admin_pb2.RoleBinding(
                    role=f"ROLE_{binding.role.name}",
                    tenant_ids=sorted(binding.tenants),
                    project_ids=sorted(binding.projects),
                )
                for binding in caller.bindings
            ],
            method=_METHODS[caller.kind],
        )

    async def get_installation(
        self, _request: admin_pb2.GetInstallationRequest, _context: CallContext
    ) -> admin_pb2.GetInstallationResponse:
        """Return the version, the prefixes of keys, and the plans."""
        flows = self._flows
        return admin_pb2.GetInstallationResponse(
            version=flows.version,
            key_prefix=flows.keyring.prefixes[0],
            older_key_prefixes=flows.keyring.prefixes[1:],
            imported_prefixes=flows.keyring.imported_prefixes,
            plans=[
                admin_pb2.GetInstallationResponse.Plan(plan=name, limits=map(str, limits))
                for name, limits in sorted(flows.plans.items())
            ],
        )
