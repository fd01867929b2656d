"""Rules that read an Envoy configuration and report problems with its ext_authz filter."""
