"""A product with bookmarks, as it was made on the release with revision 0004. Do not change it.

It shows what a new release must not break: see docs/upgrading.md.
"""
