"""Contains the installation of third-party tools and their execution with a time limit."""

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
COLOR_CODE = re.compile(r"\x1b[\[(][0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class ToolOutput:
    """The output of a tool without color codes. `is_killed` is true after a timeout."""

    text: str
    is_killed: bool


def install_from_pypi(package: str, version: str, program: str) -> Path:
    """Installs the package in its own environment and returns the program's path. Raises NotRun."""
    folder = CACHE / f"{package}-{version}"
    if not (folder / "installed").exists():
        python = folder / "bin" / "python"
        commands: list[list[str | Path]] = [
            [sys.executable, "-m", "venv", "--clear", folder],
            [python, "-m", "pip", "install", "--quiet", f"{package}=={version}"],
        ]
        if any(subprocess.run(command, capture_output=True).returncode for command in commands):
            raise NotRun(f"{package} {version} cannot be installed from PyPI here")
        (folder / "installed").touch()
    return folder / "bin" / program


def install_from_debian(program: str) -> str:
    """Installs the Debian package `program` and returns its name. Raises NotRun."""
    if not shutil.which(program) and os.geteuid() == 0 and shutil.which("apt-get"):
        environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", program]):
            subprocess.run(["apt-get", *arguments], env=environ, capture_output=True)
    if not shutil.which(program):
        raise NotRun(f"needs the Debian package {program}, which only root can install")
    return program


def debian_version(program: str) -> str:
    """Installs the Debian package `program` and returns the version in its help text."""
    command = [install_from_debian(program), "-h"]
    done = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"v(?:ersion )?(\d[\d.]*)", done.stdout + done.stderr)
    return found[1] if found else "unknown"


def run(command: list[str | Path], seconds: float, folder: Path) -> ToolOutput:
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
    is_killed = False
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        is_killed = True
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
    return ToolOutput(COLOR_CODE.sub("", output.decode(errors="replace")), is_killed)
