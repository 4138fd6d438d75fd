"""Loads `scripts/messages`, whose file name has no suffix, as a module."""

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from types import ModuleType

from web.settings.paths import ROOT


def load_catalog_script() -> ModuleType:
    loader = SourceFileLoader("messages_script", str(ROOT / "scripts" / "messages"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look up their module by its name.
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module
