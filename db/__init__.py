"""The data layer: accounts, sessions, rate limits, the audit log and access control, without
HTTP.
"""
