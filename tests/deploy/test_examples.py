"""Tests that the examples in deploy/ are valid and refer only to existing files and settings.

nginx and systemd-analyze check their examples on machines where they are installed.
"""

import asyncio
import configparser
import ipaddress
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from tests.processes import (
    BASE_PATH_EXAMPLE,
    EXAMPLE,
    NGINX,
    RoundRobinTransport,
    free_port,
    needs_nginx,
    nginx,
    serving,
    write_nginx,
)
from web.settings.paths import ROOT

DEPLOY = ROOT / "deploy"
ANALYZE = shutil.which("systemd-analyze")
SETTINGS = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))


def steps(dockerfile: str) -> list[tuple[str, str]]:
    """Returns the instruction and the arguments of each step."""
    lines = re.sub(
        r"\\\n\s*", "", re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE)
    ).splitlines()
    return [
        (line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines if line.strip()
    ]


def known(name: str) -> bool:
    return name in SETTINGS or name.removesuffix("_FILE") in SETTINGS


@needs_nginx
@pytest.mark.parametrize("example", [EXAMPLE, BASE_PATH_EXAMPLE], ids=["host", "path"])
def test_nginx_accepts_the_example(tmp_path: Path, example: str) -> None:
    path = write_nginx(tmp_path, free_port(), free_port(), free_port(), example=example)
    done = subprocess.run([NGINX, "-t", "-c", path], capture_output=True, text=True)
    assert (done.returncode, "warn" in done.stderr) == (0, False), done.stderr


@needs_nginx
@pytest.mark.alone
async def test_nginx_caches_static_files_and_limits_body_size_and_request_rate(
    migrated: Path, tmp_path: Path
) -> None:
    shutil.copy(migrated, tmp_path / "latchkey.db")
    port = free_port()
    settings = {"BASE_URL": f"https://localhost:{port}", "TRUSTED_PROXIES": "127.0.0.1"}
    certificate = tmp_path / "fullchain.pem"
    with (
        serving(f"sqlite:///{tmp_path}/latchkey.db", HOST="127.0.0.1", **settings) as program,
        nginx(tmp_path, port, program.port),
    ):
        async with httpx.AsyncClient(
            transport=RoundRobinTransport(port, certificate=certificate),
            base_url=settings["BASE_URL"],
        ) as client:
            front = await client.get("/")
            assert (front.status_code, front.http_version, "nginx/" in str(front.headers)) == (
                200,
                "HTTP/1.1",
                False,
            )
            # The header would apply to every program on localhost.
            assert "strict-transport-security" not in front.headers
            style = re.search(r"/static/[^\"]+\.css", front.text)[0]  # type: ignore[index]
            first = await client.get(style)
            assert (await client.post("/login", content=b"x" * 70_000)).status_code == 413
            group = await asyncio.gather(*[client.post("/logout") for _ in range(80)])
            assert {answer.status_code for answer in group} == {303, 429}
            assert 50 <= [answer.status_code for answer in group].count(303) < 70
            assert (await client.get("/login")).status_code == 200
            program.end()
            assert (await client.get(style)).content == first.content
            assert (await client.get("/login")).status_code == 502


def test_the_nginx_example_does_not_trust_client_headers() -> None:
    assert "X-Forwarded-For   $remote_addr" in EXAMPLE
    assert "proxy_add_x_forwarded_for" not in EXAMPLE


def unit() -> dict[str, list[str]]:
    parser = configparser.RawConfigParser(strict=False, delimiters="=", comment_prefixes="#")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    lines = (DEPLOY / "latchkey.service").read_text()
    parser.read_string(lines)
    return {key: re.findall(rf"^{key}=(.*)$", lines, re.MULTILINE) for key in parser["Service"]}


@pytest.mark.skipif(ANALYZE is None, reason="there is no systemd-analyze")
def test_systemd_accepts_the_example_and_rates_its_exposure_low(tmp_path: Path) -> None:
    text = (DEPLOY / "latchkey.service").read_text().replace("/opt/latchkey", str(ROOT))
    (tmp_path / "latchkey.service").write_text(text)
    done = subprocess.run(
        [ANALYZE, "verify", tmp_path / "latchkey.service"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    command = [
        ANALYZE,
        "security",
        "--offline=true",
        "--threshold=20",
        tmp_path / "latchkey.service",
    ]
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_the_service_refers_to_existing_commands_and_settings() -> None:
    service = unit()
    told = [word.partition("=")[0] for line in service["Environment"] for word in line.split()]
    assert told and all(known(name) for name in told)
    commands = [command.split() for command in (*service["ExecStartPre"], *service["ExecStart"])]
    assert [command[1] for command in commands] == ["migrate", "serve"]
    for program, *_ in commands:
        assert (ROOT / Path(program).relative_to("/opt/latchkey")).exists()


def test_the_image_copies_existing_files_and_all_that_the_program_needs() -> None:
    copied = [
        rest.split()[:-1]
        for step, rest in steps((DEPLOY / "Dockerfile").read_text())
        if step == "COPY"
    ]
    names = {name for sources in copied for name in sources if not sources[0].startswith("--from")}
    assert all((ROOT / name).exists() for name in names)
    assert names >= {"db", "web", "partials", "static", "requirements.lock", "pyproject.toml"}
    allowed = {
        line[1:]
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        if line[0] == "!"
    }
    assert allowed == names


def test_the_image_is_small_and_does_not_run_as_root() -> None:
    all_steps = steps((DEPLOY / "Dockerfile").read_text())
    froms = [at for at, (step, _) in enumerate(all_steps) if step == "FROM"]
    assert all(re.match(r"python:3\.\d+-slim\b", all_steps[at][1]) for at in froms)
    last = all_steps[froms[-1] :]
    assert not any("pip install" in rest or "apt" in rest for _, rest in last)
    told = dict(last)
    assert told["USER"] not in ("", "root", "0")
    assert [step for step, _ in last].index("USER") < [step for step, _ in last].index("CMD")
    assert "/healthz" in told["HEALTHCHECK"]
    assert told["CMD"] == '["latchkey", "serve"]'
    environment = re.findall(r"([A-Z_]+)=", told["ENV"])
    assert all(known(name) or name in ("PATH", "PYTHONDONTWRITEBYTECODE") for name in environment)


def test_the_health_check_ignores_proxies_and_detects_a_stopped_program(
    migrated: Path, tmp_path: Path
) -> None:
    shutil.copy(migrated, tmp_path / "latchkey.db")
    told = dict(steps((DEPLOY / "Dockerfile").read_text()))["HEALTHCHECK"]
    command = [sys.executable, *json.loads(told[told.index(" CMD ") + 5 :])[1:]]
    proxies = {"HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1"}
    with serving(f"sqlite:///{tmp_path}/latchkey.db") as program:
        environ = proxies | {"PORT": str(program.port)}
        done = subprocess.run(command, env=environ, capture_output=True, text=True)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert subprocess.run(command, env=environ, capture_output=True).returncode == 1


def test_the_compose_file_trusts_only_the_gateway_of_its_network() -> None:
    """Relies on the gateway's IP address, from which requests through a published port come."""
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    (network,) = compose["networks"]["default"]["ipam"]["config"]
    assert compose["services"]["web"]["environment"]["TRUSTED_PROXIES"] == network["gateway"]
    assert ipaddress.ip_address(network["gateway"]) in ipaddress.ip_network(network["subnet"])


def test_the_compose_file_migrates_before_serving_and_names_known_settings() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = compose["services"]
    assert (
        DEPLOY / services["web"]["build"]["context"] / services["web"]["build"]["dockerfile"]
    ).exists()
    assert services["migrate"]["command"] == ["latchkey", "migrate"]
    assert services["web"]["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"}
    }
    assert all(known(name) for name in services["web"]["environment"])
    assert {name for service in services.values() for name in service["secrets"]} == set(
        compose["secrets"]
    )
    assert all(port.startswith("127.0.0.1:") for port in services["web"]["ports"])
