"""The audit log, a hash-chained table."""
