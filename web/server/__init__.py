"""Runs the server."""
