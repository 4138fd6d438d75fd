"""One file per feature; each function reads, calls `db` once or twice, and answers."""
