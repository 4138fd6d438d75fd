"""The audit events of the product, with their texts for users and administrators."""

from collections.abc import Mapping
from typing import Final

from db.audit.events import EventTexts, ProductEvent

ADDED: Final = ProductEvent("bookmark.add")
CHANGED: Final = ProductEvent("bookmark.change")
DELETED: Final = ProductEvent("bookmark.delete")

EVENTS: Final[Mapping[str, EventTexts]] = {
    ADDED: EventTexts("Add bookmark", own="added the bookmark {title}", note="{title}"),
    CHANGED: EventTexts("Change bookmark", own="changed the bookmark {title}", note="{title}"),
    DELETED: EventTexts("Delete bookmark", own="deleted the bookmark {title}", note="{title}"),
}
