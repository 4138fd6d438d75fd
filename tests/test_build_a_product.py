"""Tests docs/build-a-product.md: its code is that of the example product, and its links exist."""

import re

import pytest

from tests.test_product import FOLDER, PACKAGE
from web.settings.paths import ROOT

PAGE = (ROOT / "docs" / "build-a-product.md").read_text()
BLOCK = re.compile(r"```\w+\n(?:# (product/\S+)|\{# (product/\S+) #\})\n(.*?)```", re.DOTALL)
BLOCKS = [(plain or jinja, text) for plain, jinja, text in BLOCK.findall(PAGE)]


@pytest.mark.parametrize(("path", "text"), BLOCKS, ids=[path for path, _ in BLOCKS])
def test_a_block_is_a_part_of_the_file_that_it_names(path: str, text: str) -> None:
    source = (FOLDER / path.removeprefix("product/")).read_text()
    assert text.rstrip("\n") in source.replace(PACKAGE, "product")


def test_the_page_names_every_file_of_the_example() -> None:
    files = {path.relative_to(FOLDER).parts[0] for path in FOLDER.iterdir()} - {"__pycache__"}
    folders = {name for name in files if (FOLDER / name).is_dir()}
    assert [name for name in files - folders if f"{name}`" not in PAGE] == []
    assert [name for name in folders if f"`{name}/`" not in PAGE] == []


def test_every_linked_file_and_heading_exists() -> None:
    headings = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^a-z -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        if target.startswith("#"):
            assert target[1:] in anchors
        elif not target.startswith("http"):
            assert (ROOT / "docs" / target).exists(), target
