"""Rate limits and their buckets."""
