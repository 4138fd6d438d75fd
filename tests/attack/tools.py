"""Third-party tools: their installation and their execution with a time limit."""

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.attack.outcome import NotRun

CACHE = Path(__file__).parent.parent.parent / ".attack"
COLOURS = re.compile(r"\x1b[\[(][0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Done:
    """The output of a tool without color codes. `was_cut` says whether it was killed."""

    said: str
    was_cut: bool


def from_pypi(package: str, version: str, program: str) -> Path:
    """Installs the package in its own environment and returns the program's path. Raises NotRun."""
    folder = CACHE / f"{package}-{version}"
    if not (folder / "installed").exists():
        make: list[list[str | Path]] = [[sys.executable, "-m", "venv", "--clear", folder]]
        make += [
            [folder / "bin" / "python", "-m", "pip", "install", "--quiet", f"{package}=={version}"]
        ]
        if any(subprocess.run(command, capture_output=True).returncode for command in make):
            raise NotRun(f"{package} {version} cannot be installed from PyPI here")
        (folder / "installed").touch()
    return folder / "bin" / program


def from_debian(program: str) -> str:
    """Installs the Debian package `program` and returns its name. Raises NotRun."""
    if not shutil.which(program) and os.geteuid() == 0 and shutil.which("apt-get"):
        environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update"], ["install", "--yes", "--no-install-recommends", program]):
            subprocess.run(["apt-get", *words], env=environ, capture_output=True)
    if not shutil.which(program):
        raise NotRun(f"needs the Debian package {program}, which only root can install")
    return program


def debian_version(program: str) -> str:
    told = subprocess.run([from_debian(program), "-h"], capture_output=True, text=True)
    found = re.search(r"v(?:ersion )?(\d[\d.]*)", told.stdout + told.stderr)
    return found[1] if found else "unknown"


def run(command: list[str | Path], seconds: float, folder: Path) -> Done:
    """Runs the command, and kills it and its children after `seconds`."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "dumb", "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    was_cut = False
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        was_cut = True
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
    return Done(COLOURS.sub("", said.decode(errors="replace")), was_cut)
