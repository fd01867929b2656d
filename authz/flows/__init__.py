"""Does. Async, knows no driver; stands on core alone."""
