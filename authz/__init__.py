"""API-key authorization for Envoy. `authz/README.md` is the map of this package."""

__version__ = "0.1.0"
