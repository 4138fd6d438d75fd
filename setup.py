"""Refuses to build a wheel, which would lack `partials/` and `static/`.

The program runs from its checkout, where also a product and the data have their place.
"""

import sys

if {"bdist_wheel", "sdist"} & set(sys.argv):
    raise SystemExit(
        "Latchkey runs from its checkout, and cannot be installed as a package: run "
        "scripts/bootstrap there, or `pip install --editable .`"
    )

from setuptools import setup

setup()
