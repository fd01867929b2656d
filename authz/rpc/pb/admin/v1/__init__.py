"""Messages generated from proto/authz/admin/v1. Do not edit: `make proto` writes them."""
