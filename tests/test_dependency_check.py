"""Tests that the program refuses dependency versions with known vulnerabilities and pins none."""

import re
import subprocess
import tomllib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from tests.environment import environ_of
from tests.processes import LATCHKEY, free_port
from web.server.dependency_check import MIN_SAFE_VERSIONS, find_unsafe, is_at_least
from web.settings.paths import ROOT

pytestmark = pytest.mark.asvs("S111")


def versions(**found: str) -> Callable[[str], str]:
    """Returns a lookup in which only the given packages are installed."""

    def version(package: str) -> str:
        if package.replace("-", "_") not in found:
            raise PackageNotFoundError(package)
        return found[package.replace("-", "_")]

    return version


def test_the_installed_versions_are_safe() -> None:
    assert find_unsafe() == ""


@pytest.mark.parametrize("package", MIN_SAFE_VERSIONS)
def test_an_older_version_is_refused_with_the_version_that_is_needed(
    package: str,
) -> None:
    name = package.replace("-", "_")
    for old in ("0.0.1", f"{MIN_SAFE_VERSIONS[package]}rc1", f"{MIN_SAFE_VERSIONS[package]}.dev3"):
        line = find_unsafe(versions(**{name: old}))
        assert line.startswith(
            f"{package} {old} has known vulnerabilities: install {MIN_SAFE_VERSIONS[package]} or newer"
        )
    assert find_unsafe(versions(**{name: MIN_SAFE_VERSIONS[package]})) == ""


@pytest.mark.parametrize(
    ("found", "is_safe"),
    [
        ("1.3.1", True),
        ("1.3.1.0", True),
        ("1.3.1.post1", True),
        ("1.3.1+debian.a1", True),
        ("1.10", True),
        ("2", True),
        ("1.3", False),
        ("1.2.99", False),
        ("1.3.1a2", False),
        ("1.3.1b2", False),
        ("1.3.1rc1", False),
        ("1.3.1.dev5", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_versions_are_compared_by_their_numbers(found: str, is_safe: bool) -> None:
    assert is_at_least(found, "1.3.1") == is_safe


def test_the_program_does_not_start_with_an_unsafe_version(tmp_path: Path, migrated: Path) -> None:
    """Puts the metadata of an older Starlette on the path before that of the installed one."""
    metadata = tmp_path / "starlette-1.0.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: starlette\nVersion: 1.0.0\n")
    completed = subprocess.run(
        [LATCHKEY, "serve"],
        env=environ_of(migrated, PORT=str(free_port()), PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (completed.returncode, completed.stdout) == (1, "")
    assert completed.stderr == (
        "latchkey: starlette 1.0.0 has known vulnerabilities: install 1.3.1 or newer (requirements.lock pins one)\n"
    )


def test_the_minimum_versions_of_the_dependencies_are_safe() -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    requirements = {
        re.match(r"[\w-]+", requirement)[0]: requirement for requirement in dependencies
    }
    for package in MIN_SAFE_VERSIONS.keys() & requirements.keys():
        minimum = re.search(r">=([\w.]+)", requirements[package])
        assert minimum, f"{package} has no minimum version"
        assert is_at_least(minimum[1], MIN_SAFE_VERSIONS[package]), requirements[package]
    assert {
        "starlette",
        "authlib",
        "jinja2",
        "joserfc",
        "cryptography",
        "uvicorn",
    } <= MIN_SAFE_VERSIONS.keys() & requirements.keys()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_the_pinned_versions_are_safe(lock: str) -> None:
    pinned = dict(re.findall(r"^([\w.-]+)(?:\[\w+\])?==([^\s;]+)", (ROOT / lock).read_text(), re.M))
    assert {"starlette", "h11", "joserfc"} <= pinned.keys()
    assert (
        find_unsafe(versions(**{name.replace("-", "_"): found for name, found in pinned.items()}))
        == ""
    )
