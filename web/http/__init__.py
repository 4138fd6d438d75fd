"""Reads requests and cookies."""
