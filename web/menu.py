"""Contains the items of the navigation bar."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from db.messages import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuItem:
    """A link in the navigation bar of logged-in users, to the page of a route.

    An item with `for_role` is shown to users with this role and to administrators only. `before` or
    `after` is the route of the item next to which an item of a product stands; without them, it
    stands last.
    """

    route: str
    text: str
    for_role: str = ""
    before: str = ""
    after: str = ""


MENU: Final = (
    MenuItem(route="dashboard", text=Message("Dashboard")),
    MenuItem(route="devices", text=Message("Devices")),
    MenuItem(route="account", text=Message("Account")),
    MenuItem(route="admin-users", text=Message("People"), for_role="admin"),
    MenuItem(route="admin-audit", text=Message("Audit"), for_role="admin"),
)


def add_items(added: Iterable[MenuItem], menu: Iterable[MenuItem] = MENU) -> tuple[MenuItem, ...]:
    """Returns the menu with the added items at their places. Raises LookupError.

    The error has the name of a route next to which no item stands.
    """
    items = list(menu)
    for item in added:
        neighbor = item.before or item.after
        if not neighbor:
            items.append(item)
            continue
        routes = [other.route for other in items]
        if neighbor not in routes:
            raise LookupError(neighbor)
        items.insert(routes.index(neighbor) + (0 if item.before else 1), item)
    return tuple(items)
