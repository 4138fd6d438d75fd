"""Schema, start-up, pruning and backup. Called by the application and the command line only."""
