"""Contains functions that read requests, cookies and client information."""
