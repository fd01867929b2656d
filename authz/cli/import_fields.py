"""The fields of an entry of an import: their names, and the values that are valid."""

from typing import Final

from authz.core import fields

# Description of a valid value, by field.
FIELDS: Final = {
    "key": "16 to 256 of A-Z a-z 0-9 _ . ~ + / = -, and not begin like one of our own keys",
    "sha256": "the SHA-256 of a key, as 64 hexadecimal digits or in base64",
    "client": f"1 to 128 of {fields.ID_CHARACTERS}",
    "project": f"1 to 128 of {fields.ID_CHARACTERS}",
    "tenant": f"1 to 128 of {fields.ID_CHARACTERS}",
    "plan": "a plan of the settings",
    "limit": "limits, such as 10/s or 1000000/month@15",
    "credits": "a whole number from 1 to 1000000000000, as a number or as a text",
    "on_outage": "local, allow or deny",
    "name": "one printable line of at most 256 characters",
    "env": "live or test",
    "scope": "scopes, such as models:generate",
    "host": "hosts, such as api.example.com or *.example.com",
    "origin": "origins, such as https://app.example.com",
    "cidr": "address blocks, such as 10.0.0.0/8",
    "expires_in": "a duration, such as 90d, or never",
    "expires_at": "a time, such as 2026-12-01T00:00:00Z, or never",
    "never": "true, for a key that does not expire",
    "not_before": "a time, such as 2026-12-01T00:00:00Z, or a duration from now, such as 7d",
    "status": "active, disabled or revoked",
    "created_at": "a time that is not in the future, such as 2024-12-01T00:00:00Z",
    "last_used_at": "a time, such as 2024-12-01T00:00:00Z",
    "id": "one printable line of at most 256 characters",
    "public": "true or false",
    "outage_grace": "a duration from 0 to 1d, such as 30s",
    "metadata": "an object: names of A-Z a-z 0-9 . _ -, and one line of text for each",
}
# Other names of fields: those of `keys show --json` and of tables in other systems.
ALIASES: Final = {
    "client_id": "client",
    "project_id": "project",
    "tenant_id": "tenant",
    "scopes": "scope",
    "limits": "limit",
    "allowed_hosts": "host",
    "allowed_origins": "origin",
    "allowed_cidrs": "cidr",
    "hash": "sha256",
    "key_hash": "sha256",
    "keyHash": "sha256",
}
