"""The rate limits and their buckets."""
