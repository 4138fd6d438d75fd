"""Loads a product: the folder `product/`, whose files extend the program without changing it."""

import importlib
import importlib.util
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from db.hooks import collect_hooks
from db.product import ProductData
from web.brand import LATCHKEY, Brand, InvalidBrand
from web.menu import MENU, MenuItem
from web.product_checks import ProductError, extend_menu, require_no_collision
from web.router import AppRoute
from web.settings.paths import ROOT
from web.settings.settings import Settings

FOLDER: Final = ROOT / "product"
CARD_LISTS: Final = ("user_cards", "admin_cards")  # A product has one of them, or both.


@dataclass(frozen=True, slots=True)
class DashboardCard:
    """A card on a dashboard: a partial, and the function that reads its data.

    `load` takes the Viewer, or the Admin on the dashboard of administrators. The partial gets the
    returned value as `card`.
    """

    load: Callable[[Any], Awaitable[object]]
    partial: str


@dataclass(frozen=True, slots=True)
class Product:
    """A product. Without one, every field has its default.

    `folder` contains `partials/` and `static/`, if they exist. `messages` are shown after a
    redirect, by the name that an endpoint passes to `confirm`. `api_paths` are paths of the OpenAPI
    document.
    """

    data: ProductData = field(default_factory=ProductData)
    folder: Path | None = None
    routes: tuple[AppRoute, ...] = ()
    menu: tuple[MenuItem, ...] = MENU
    user_cards: tuple[DashboardCard, ...] = ()
    admin_cards: tuple[DashboardCard, ...] = ()
    messages: Mapping[str, str] = field(default_factory=dict)
    api_paths: Mapping[str, Any] = field(default_factory=dict)
    brand: Brand = LATCHKEY

    def find_folder(self, name: str) -> Path | None:
        """Returns a folder of the product, or None if it does not exist."""
        folder = self.folder / name if self.folder else None
        return folder if folder and folder.is_dir() else None


NO_PRODUCT: Final = Product()


def load_product(folder: Path = FOLDER, package: str = "product") -> Product:
    """Imports the modules of the folder as a package and returns the product.

    Returns NO_PRODUCT if there is no folder. Each module and each folder in it is optional. Raises
    ProductError if a module cannot be imported, or if it collides with the program.
    """
    if not (folder / "__init__.py").is_file():
        if any(folder.glob("*.py")):
            raise ProductError(f"{folder.name}/ has no __init__.py")
        return NO_PRODUCT
    read = _Reader(folder, package)
    migrations, hooks = folder / "migrations", read.module("hooks")
    data = ProductData(
        tables=read("tables", "metadata", None),
        migrations=migrations if migrations.is_dir() else None,
        events=read("events", "EVENTS", {}),
        hooks=collect_hooks(vars(hooks) if hooks else {}),
        permissions=read("permissions", "PERMISSIONS", {}),
        export=read("data", "export", None),
    )
    routes = tuple(read("routes", "routes", ()))
    cards = {name: tuple(read("dashboard", name, (), others=CARD_LISTS)) for name in CARD_LISTS}
    require_no_collision(data, routes)
    for card in (*cards["user_cards"], *cards["admin_cards"]):
        if not any((base / "partials" / card.partial).is_file() for base in (folder, ROOT)):
            raise ProductError(f"product/dashboard.py: there is no partial {card.partial!r}")
    return Product(
        data,
        folder,
        routes,
        menu=extend_menu(read("menu", "menu", ()), routes),
        **cards,
        messages=read("messages", "MESSAGES", {}),
        api_paths=read("openapi", "PATHS", {}),
        brand=read("brand", "brand", LATCHKEY),
    )


def load_chosen_product(settings: Settings) -> Product:
    """Returns the product in the folder `product/`, unless PRODUCT is off. Raises ProductError."""
    return load_product() if settings.loads_product else NO_PRODUCT


class _Reader:
    """Reads values from the modules of a product."""

    def __init__(self, folder: Path, package: str) -> None:
        self._folder = folder
        self._package = package
        self._guarded("__init__", self._import_folder)

    def __call__(self, module: str, name: str, default: Any, *, others: Sequence[str] = ()) -> Any:
        """Returns a value of a module, or the default if there is no such module.

        Raises ProductError for a module without the value, which is probably a typo, unless it has
        one of `others`.
        """
        found = self.module(module)
        if found is None:
            return default
        if not hasattr(found, name):
            if any(hasattr(found, other) for other in others):
                return default
            raise ProductError(f"{self._label(module)} does not define {name!r}")
        return getattr(found, name)

    def module(self, name: str) -> ModuleType | None:
        if not (self._folder / f"{name}.py").is_file():
            return None
        return self._guarded(name, lambda: importlib.import_module(f"{self._package}.{name}"))

    def _guarded(self, module: str, load: Callable[[], ModuleType]) -> ModuleType:
        """Imports a module. Raises ProductError with the error of its code as the cause."""
        try:
            return load()
        except InvalidBrand as problem:
            raise ProductError(f"{self._label(module)}: {problem}") from None
        except Exception as error:
            message = (str(error).splitlines() or [""])[0]
            raise ProductError(
                f"{self._label(module)} cannot be imported: {type(error).__name__}: {message}"
            ) from error

    def _import_folder(self) -> ModuleType:
        """Imports the folder as the package of this name, wherever it is."""
        if self._package in sys.modules:
            return sys.modules[self._package]
        spec: Any = importlib.util.spec_from_file_location(
            self._package,
            self._folder / "__init__.py",
            submodule_search_locations=[str(self._folder)],
        )
        module = importlib.util.module_from_spec(spec)
        sys.modules[self._package] = module
        spec.loader.exec_module(module)
        return module

    def _label(self, module: str) -> str:
        return f"{self._folder.name}/{module}.py"
