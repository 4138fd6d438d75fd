"""Gives these tests the fixtures of Latchkey's tests, with the product loaded."""

from pathlib import Path

import pytest

from tests.conftest import *  # noqa: F403  (the fixtures: app, alice, bob, ada, anonymous …)
from web.product import Product, load_product


@pytest.fixture(scope="session")
def product() -> Product:
    """Returns the product, with which `make_app` then creates each application."""
    return load_product(Path(__file__).parent.parent, "tests.example_product")
