"""The schema check, startup, pruning and backup.

Only the application and the command line call it.
"""
