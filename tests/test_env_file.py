"""Tests of the file `.env`: its syntax, its mode, and how it joins the environment."""

import subprocess
from pathlib import Path

import pytest

from tests.commands import CommandResult, run_command
from tests.conftest import SECRET
from tests.test_cli import LATCHKEY
from web.settings.env_file import find_env_file, load_env_file
from web.settings.environment import InvalidSetting
from web.settings.paths import ROOT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / ".env"
    path.touch(0o600)
    return path


def load(path: Path, text: str, **environ: str) -> dict[str, str]:
    path.write_text(text)
    load_env_file(path, environ)
    return environ


def limits(path: Path, text: str, **environ: str) -> CommandResult:
    path.write_text(text)
    return run_command("limits", environ=environ, env_file=path)


def test_the_syntax_is_read_as_a_shell_reads_it(path: Path) -> None:
    text = r"""# a comment
PLAIN=sqlite:////tmp/a.db?x=[1],*#no
  INDENTED=1
export EXPORTED=yes
EMPTY=
SPACE=word   # a comment
SINGLE='Latchkey <a@example.com> $HOME "x" \n'
DOUBLE="a \"b\" \\ \$HOME"  # a comment
SHARP="#1"

"""
    read = load(path, text)
    assert read == {
        "PLAIN": "sqlite:////tmp/a.db?x=[1],*#no",
        "INDENTED": "1",
        "EXPORTED": "yes",
        "EMPTY": "",
        "SPACE": "word",
        "SINGLE": 'Latchkey <a@example.com> $HOME "x" \\n',
        "DOUBLE": 'a "b" \\ $HOME',
        "SHARP": "#1",
    }
    shell = subprocess.run(
        ["/bin/sh", "-c", f"set -a; . {path}; env"], env={}, capture_output=True, text=True
    )
    assert {f"{name}={value}" for name, value in read.items()} <= set(shell.stdout.splitlines())


def test_windows_line_ends_and_a_byte_order_mark_are_accepted(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbfPORT=8001\r\nHSTS=off\r\n")
    environ: dict[str, str] = {}
    load_env_file(path, environ)
    assert environ == {"PORT": "8001", "HSTS": "off"}


@pytest.mark.parametrize(
    "line",
    [
        "PORT",
        "PORT = 8001",
        "PORT= 8001",
        "2PORT=8001",
        "A-B=c",
        "NAME=two words",
        "NAME=$HOME",
        "NAME=${HOME}",
        'NAME="$HOME"',
        "NAME=`id`",
        "NAME=a&b",
        "NAME=a;b",
        "NAME=~/x",
        "NAME=a:~/x",
        r"NAME=a\b",
        "NAME='it's'",
        'NAME="open',
        "NAME='open",
        "NAME='a'b",
        "NAME='tab\there'",
        "NAME='\x1b[2J'",
        "source other",
    ],
)
def test_a_line_that_is_not_plain_is_refused_with_its_number(path: Path, line: str) -> None:
    environ: dict[str, str] = {}
    path.write_text(f"FIRST=1\n\n{line}\n")
    with pytest.raises(InvalidSetting) as refused:
        load_env_file(path, environ)
    assert str(refused.value).startswith(f"{path}, line 3: ")
    assert "\n" not in str(refused.value)
    assert environ == {}


def test_an_error_never_contains_the_value(path: Path) -> None:
    with pytest.raises(InvalidSetting) as refused:
        load(path, "SESSION_SECRET=hush hush\n")
    assert "hush" not in str(refused.value)


def test_a_repeated_name_is_refused(path: Path) -> None:
    with pytest.raises(InvalidSetting, match="line 2: PORT is set twice"):
        load(path, "PORT=1\nPORT=2\n")


def test_environment_variables_replace_the_lines_of_the_file(path: Path) -> None:
    assert load(path, "PORT=1\nHOST=::1\n", PORT="2", HOST="") == {"PORT": "2", "HOST": ""}


@pytest.mark.parametrize(
    ("present", "line"),
    [("SESSION_SECRET", "SESSION_SECRET_FILE=/x"), ("SESSION_SECRET_FILE", "SESSION_SECRET=x")],
)
def test_a_secret_in_the_environment_replaces_its_other_form(
    path: Path, present: str, line: str
) -> None:
    assert load(path, line, **{present: "y"}) == {present: "y"}


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o620, 0o602])
@pytest.mark.parametrize(
    "line",
    [
        f"SESSION_SECRET='{SECRET}'",
        "METRICS_TOKEN=x",
        "DATABASE_URL=postgresql://me:hush@localhost/x",
        "SMTP_URL=smtp://me:hush@localhost",
        "WEBHOOK_URL=https://hooks.example.com/hush",
    ],
)
def test_a_file_with_secrets_that_others_can_access_is_refused(
    path: Path, mode: int, line: str
) -> None:
    path.chmod(mode)
    with pytest.raises(InvalidSetting, match=f"other users can .* it: run chmod 600 {path}"):
        load(path, line)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o640])
def test_a_file_with_secrets_that_its_group_can_read_is_accepted(path: Path, mode: int) -> None:
    path.write_text("METRICS_TOKEN=x")
    path.chmod(mode)
    environ: dict[str, str] = {}
    load_env_file(path, environ)
    assert environ == {"METRICS_TOKEN": "x"}


def test_a_file_without_secrets_may_be_readable_but_not_writable(path: Path) -> None:
    path.chmod(0o664)
    assert load(path, "PORT=1\nDATABASE_URL=sqlite:///x.db") != {}
    path.chmod(0o666)
    with pytest.raises(InvalidSetting, match="other users can write it"):
        load(path, "PORT=1")


def test_every_command_reads_the_file(path: Path) -> None:
    result = limits(path, "LIMIT_FORGOT=7/2h\n")
    assert (result.returncode, result.stderr) == (0, "")
    assert "LIMIT_FORGOT=7/2h" in result.stdout
    assert "LIMIT_FORGOT=8/1h" in limits(path, "LIMIT_FORGOT=7/2h\n", LIMIT_FORGOT="8").stdout


def test_an_invalid_file_stops_a_command_with_one_line(path: Path, tmp_path: Path) -> None:
    result = limits(path, "oops\n")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"latchkey: {path}, line 1: must be NAME=value or begin with #\n"
    result = run_command("limits", environ={}, env_file=tmp_path / "none")
    assert (result.returncode, result.stderr) == (
        2,
        f"latchkey: {tmp_path}/none: cannot be read: No such file or directory\n",
    )


def test_the_installed_command_reads_the_named_file(path: Path) -> None:
    path.write_text("LIMIT_FORGOT=7/2h\n")
    done = subprocess.run(
        [LATCHKEY, "limits"], env={"ENV_FILE": str(path)}, capture_output=True, text=True
    )
    assert (done.returncode, "LIMIT_FORGOT=7/2h" in done.stdout) == (0, True)


def test_the_file_is_that_of_the_checkout_unless_the_environment_names_one(
    path: Path,
) -> None:
    assert find_env_file({"ENV_FILE": "off"}) is None
    assert find_env_file({"ENV_FILE": str(path)}) == path
    assert find_env_file({}) == (ROOT / ".env" if (ROOT / ".env").exists() else None)
