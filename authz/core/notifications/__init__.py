"""Events for receivers outside: CloudEvents that follow from the audit trail."""
