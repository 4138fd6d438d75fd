"""The endpoints of the product, one file per feature."""
