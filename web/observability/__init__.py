"""Contains logging and metrics."""
