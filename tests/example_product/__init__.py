"""The product: the files that extend Latchkey. docs/build-a-product.md describes them."""
