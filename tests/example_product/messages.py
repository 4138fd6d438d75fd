"""The messages that confirm a change, by the name that an endpoint passes to `confirm`."""

from collections.abc import Mapping
from typing import Final

MESSAGES: Final[Mapping[str, str]] = {
    "bookmark-added": "Bookmark added.",
    "bookmark-changed": "Bookmark saved.",
    "bookmark-deleted": "Bookmark deleted.",
}
