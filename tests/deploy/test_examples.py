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
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import yaml

from tests.conftest import SECRET
from tests.processes import (
    BASE_PATH_EXAMPLE,
    EXAMPLE,
    LATCHKEY,
    NGINX,
    RoundRobinTransport,
    free_port,
    needs_nginx,
    nginx,
    serving,
    started,
    write_nginx,
)
from web.routes import routes
from web.settings.paths import ROOT
from web.settings.settings import read_settings

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
    token = "a token of the tests, 32 letters or more"
    certificate = tmp_path / "fullchain.pem"
    with (
        serving(
            f"sqlite:///{tmp_path}/latchkey.db",
            HOST="127.0.0.1",
            METRICS_TOKEN=token,
            **settings,
        ) as program,
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
            assert (await client.get("/metrics")).status_code == 404
            metrics = await client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
            assert (metrics.status_code, "latchkey_requests_total" in metrics.text) == (200, True)
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


@needs_nginx
@pytest.mark.alone
@pytest.mark.reliability("R17")
async def test_nginx_loses_no_request_while_both_programs_restart(
    migrated: Path, tmp_path: Path
) -> None:
    """Restarts the second program before nginx would have tried the first one again.

    With max_fails at its default, nginx then knew no live server, and 10 of 100 requests were 502.
    """
    shutil.copy(migrated, tmp_path / "latchkey.db")
    port, ports = free_port(), (free_port(), free_port())
    base_url = f"https://localhost:{port}"
    settings = {
        "BASE_URL": base_url,
        "HOST": "127.0.0.1",
        "TRUSTED_PROXIES": "127.0.0.1",
        "DATABASE_URL": f"sqlite:///{tmp_path}/latchkey.db",
        "SESSION_SECRET": SECRET,
        "RATE_LIMITS": "off",
        # nginx then opens new connections: it does not repeat a POST that a closed one has lost.
        "DRAIN_SECONDS": "1",
    }
    statuses: Counter[int] = Counter()
    stop = asyncio.Event()

    async def send_requests(client: httpx.AsyncClient) -> None:
        while not stop.is_set():
            for response in (await client.get("/login"), await client.post("/logout")):
                statuses[response.status_code] += 1
            await asyncio.sleep(0.02)

    with ExitStack() as stack:
        programs = [stack.enter_context(started(p, LATCHKEY, "serve", **settings)) for p in ports]
        stack.enter_context(nginx(tmp_path, port, *ports, rate="=1000r/s"))
        transport = RoundRobinTransport(port, certificate=tmp_path / "fullchain.pem")
        async with httpx.AsyncClient(transport=transport, base_url=base_url, timeout=30) as client:
            load = [asyncio.create_task(send_requests(client)) for _ in range(2)]
            for program in programs:
                await asyncio.sleep(0.5)
                await asyncio.to_thread(program.end)
                await asyncio.sleep(0.5)
                again = started(program.port, LATCHKEY, "serve", **settings)
                await asyncio.to_thread(stack.enter_context, again)
            stop.set()
            await asyncio.gather(*load)
    assert statuses.keys() == {200, 303}, statuses
    assert sum(statuses.values()) > 50


def test_the_nginx_example_does_not_trust_client_headers() -> None:
    assert "X-Forwarded-For   $remote_addr" in EXAMPLE
    assert "proxy_add_x_forwarded_for" not in EXAMPLE


@pytest.mark.parametrize("text", [EXAMPLE, BASE_PATH_EXAMPLE])
def test_the_nginx_examples_log_no_token_of_a_mail(text: str) -> None:
    links = {route.path for route in routes if route.path.endswith("/{token}")}
    unlogged = re.search(r"location ~ \^(/accounts)?/\(([a-z|-]+)\)/ \{\s+access_log off;", text)
    assert unlogged is not None
    assert {f"/{name}/{{token}}" for name in unlogged[2].split("|")} == links


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


def environment_file() -> dict[str, str]:
    """Returns the variables of the example, as systemd reads them."""
    lines = (DEPLOY / "latchkey.env").read_text().splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return {name: value for name, _, value in pairs}


def test_the_environment_file_is_valid_and_fits_the_proxy(tmp_path: Path) -> None:
    environ = environment_file()
    for name in ("SESSION_SECRET_FILE", "SMTP_URL_FILE"):
        path = tmp_path / name
        path.write_text({"SMTP_URL_FILE": "smtp://127.0.0.1:25"}.get(name, SECRET))
        path.chmod(0o400)
        environ[name] = str(path)
    environ["DATABASE_URL"] = f"sqlite:///{tmp_path}/latchkey.db"
    settings = read_settings(environ, data=tmp_path)
    assert settings.notices == ()
    assert f"server {settings.host}:{settings.port} " in EXAMPLE
    assert f"server_name {settings.base_url.removeprefix('https://')};" in EXAMPLE
    names = re.findall(r"^#?([A-Z_]+)=", (DEPLOY / "latchkey.env").read_text(), re.MULTILINE)
    assert all(known(name) for name in names)


def test_commands_for_the_first_admin_use_the_environment_of_the_service() -> None:
    text = (ROOT / "docs" / "deployment.md").read_text()
    (path,) = unit()["EnvironmentFile"]
    assert f"--property=EnvironmentFile={path}" in text
    assert "docker compose -f deploy/compose.yaml run --rm web" in text


def test_the_service_refers_to_existing_commands_and_files() -> None:
    service = unit()
    assert service["EnvironmentFile"] == ["/etc/latchkey/latchkey.env"]
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
