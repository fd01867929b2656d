"""Identity providers: signing keys and bearer tokens (OpenID Connect); knows joserfc."""
