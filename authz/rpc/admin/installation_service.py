"""The Admin service: the caller, and the installation."""

from typing import Final

from authz.core.access import Kind
from authz.flows.admin_flows import AdminFlows
from authz.rpc.admin.call_context import CallContext
from authz.rpc.check.credential import BASIC_USERNAME, header_of
from authz.rpc.pb.admin.v1 import admin_pb2

_METHODS: Final = {
    Kind.OIDC: "oidc",
    Kind.CERTIFICATE: "certificate",
    Kind.KEY: "key",
    Kind.HOLDER: "key",
}


class InstallationService:
    """The methods of authz.admin.v1.Admin. carrier: of keys, as `extract.headers` has it."""

    def __init__(self, flows: AdminFlows, carrier: str) -> None:
        self._flows = flows
        scheme = carrier.partition(":")[2]
        self._key_header = header_of(carrier)
        self._key_scheme = "basic" if carrier == BASIC_USERNAME else scheme

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
        """Return the version, the forms of keys, their header, and the plans."""
        flows = self._flows
        return admin_pb2.GetInstallationResponse(
            version=flows.version,
            key_prefix=flows.keyring.prefixes[0],
            older_key_prefixes=flows.keyring.prefixes[1:],
            imported_prefixes=flows.keyring.imported_prefixes,
            key_header=self._key_header,
            key_scheme=self._key_scheme,
            public_key_prefix=flows.keyring.public_prefix,
            plans=[
                admin_pb2.GetInstallationResponse.Plan(plan=name, limits=map(str, limits))
                for name, limits in sorted(flows.plans.items())
            ],
        )
