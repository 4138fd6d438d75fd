"""Contains the checks that a product does not collide with the program."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from db.audit.events import EVENT_TEXTS
from db.product import ProductData
from db.role_names import is_permission_name
from db.scopes import SCOPES
from db.tables import metadata
from web.menu import MenuItem, add_items
from web.router import AppRoute
from web.routes import routes as own_routes

# Alembic's tables of the revisions of the program and of the product.
VERSION_TABLES: Final = ("alembic_version", "product_version")


class ProductError(Exception):
    """Raised if the program cannot start with a product. The message has one line.

    Its cause is an error of the product's own code, if there is one.
    """


def require_no_collision(data: ProductData, routes: Sequence[AppRoute]) -> None:
    """Raises ProductError if a name or a path of the product belongs to the program already."""
    _check_routes(routes)
    for name in data.tables.tables if data.tables is not None else ():
        if name in metadata.tables or name in VERSION_TABLES:
            raise ProductError(f"product/tables.py: the table {name!r} is a table of Latchkey")
    for name, texts in data.events.items():
        if name in EVENT_TEXTS:
            label = EVENT_TEXTS[name].label
            raise ProductError(
                f"product/events.py: the event {name!r} ({texts.label}) is an event of Latchkey "
                f"({label})"
            )
    _check_permissions(data, routes)


def _check_permissions(data: ProductData, routes: Sequence[AppRoute]) -> None:
    """Raises ProductError for a permission of Latchkey, or a scope that no token can have."""
    for name in data.permissions:
        # A space in a name would join two scopes of an access token.
        if not is_permission_name(name):
            raise ProductError(
                f"product/permissions.py: {name!r} is not a permission such as 'articles:write'"
            )
        if name in SCOPES:
            raise ProductError(f"product/permissions.py: {name!r} is a scope of Latchkey")
    for route in routes:
        for method in route.endpoints if route.token_scope else ():
            scope = f"{route.token_scope}:{'read' if method == 'GET' else 'write'}"
            if scope not in SCOPES and scope not in data.permissions:
                raise ProductError(
                    f"product/routes.py: {method} {route.path} needs the scope {scope!r}, which "
                    "product/permissions.py does not declare"
                )


def _check_routes(routes: Sequence[AppRoute]) -> None:
    for number, route in enumerate(routes):
        if not isinstance(route, AppRoute):
            raise ProductError(
                f"product/routes.py: routes[{number}] is not a row such as Members(...)"
            )
        for other in (*own_routes, *routes[:number]):
            if route.name == other.name:
                raise ProductError(
                    f"product/routes.py: the route {route.path} has the name {route.name!r} of the "
                    f"route {other.path}"
                )
            # A path without parameters would hide the page of another route.
            if other.path_regex.fullmatch(re.sub(r"{[\w:]+}", "x", route.path)):
                raise ProductError(
                    f"product/routes.py: the path {route.path} of the route {route.name!r} belongs "
                    f"to the route {other.name!r} ({other.path})"
                )


def extend_menu(
    items: Iterable[MenuItem], product_routes: Sequence[AppRoute]
) -> tuple[MenuItem, ...]:
    """Returns the menu with the items of the product.

    Raises ProductError if an item has no page without parameters, or no neighbor.
    """
    pages = {
        route.name
        for route in (*own_routes, *product_routes)
        if "GET" in route.endpoints and not route.param_convertors
    }
    items = tuple(items)
    for item in items:
        if item.route not in pages:
            raise ProductError(
                f"product/menu.py: the item {item.text!r} names {item.route!r}, which is not a "
                "route for a page without parameters"
            )
    try:
        return add_items(items)
    except LookupError as unknown:
        raise ProductError(
            f"product/menu.py: an item stands next to {unknown.args[0]!r}, which is not in the menu"
        ) from None
