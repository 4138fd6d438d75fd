"""Loads a product: the folder `product/`, whose files extend the program without changing it."""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from db.hooks import collect_hooks
from db.product import ProductData
from web.settings.paths import ROOT

if TYPE_CHECKING:
    from web.router import AppRoute

FOLDER: Final = ROOT / "product"


@dataclass(frozen=True, slots=True)
class Product:
    """A product. Without one, every field has its default.

    `folder` contains `partials/` and `static/`, if they exist.
    """

    data: ProductData = field(default_factory=ProductData)
    folder: Path | None = None
    routes: Sequence["AppRoute"] = ()


NO_PRODUCT: Final = Product()


def load_product(folder: Path = FOLDER, package: str = "product") -> Product:
    """Imports the modules of the folder as a package and returns the product.

    Returns NO_PRODUCT if there is no folder. Each module and each folder in it is optional.
    """
    if not (folder / "__init__.py").is_file():
        return NO_PRODUCT
    _import_folder(folder, package)
    tables, events, hooks, permissions, routes = (
        _import_module(folder, package, name)
        for name in ("tables", "events", "hooks", "permissions", "routes")
    )
    migrations = folder / "migrations"
    data = ProductData(
        tables=getattr(tables, "metadata", None),
        migrations=migrations if migrations.is_dir() else None,
        events=getattr(events, "EVENTS", {}),
        hooks=collect_hooks(vars(hooks) if hooks else {}),
        permissions=getattr(permissions, "PERMISSIONS", {}),
    )
    return Product(data, folder, tuple(getattr(routes, "routes", ())))


def _import_folder(folder: Path, package: str) -> None:
    """Imports the folder as the top-level package of this name, wherever it is."""
    if package in sys.modules:
        return
    spec: Any = importlib.util.spec_from_file_location(
        package, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[package] = module
    spec.loader.exec_module(module)


def _import_module(folder: Path, package: str, name: str) -> ModuleType | None:
    if not (folder / f"{name}.py").is_file():
        return None
    return importlib.import_module(f"{package}.{name}")
