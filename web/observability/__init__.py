"""Contains logging, the suppression of repeated log messages, and metrics."""
