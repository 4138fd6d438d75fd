"""What is true without HTTP, and who may know it."""
