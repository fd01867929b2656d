"""Messages generated from proto/authz/check. Do not edit: `make proto` writes them."""
