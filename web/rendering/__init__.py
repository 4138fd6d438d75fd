"""Renders responses."""
