"""Sessions. The only package that creates a Viewer."""
