"""Signatures, MACs, secrets and passwords. Imports nothing of the project but `db.errors`."""
