"""The sessions. Only this package creates a Viewer."""
