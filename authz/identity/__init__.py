"""Signing keys and tokens: of identity providers (OpenID Connect, joserfc), and our own (ES256)."""
