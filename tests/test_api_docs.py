"""Tests docs/api.md: its commands succeed, in the order of the page."""

import re
import shlex
from pathlib import Path
from string import Template

from db.scopes import SCOPES
from tests.browser_client import Browser, read
from tests.conftest import TestApp

PAGE = Path(__file__).parent.parent / "docs" / "api.md"


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.S)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


async def run_curl(app: TestApp, command: str, values: dict[str, str]) -> int:
    """Sends the request of a curl command with the options -X, -H and -d. Returns the status."""
    program, *words = shlex.split(Template(command).substitute(values))
    assert program == "curl"
    method, headers, body, url = "GET", {}, None, ""
    while words:
        word = words.pop(0)
        if word == "-X":
            method = words.pop(0)
        elif word == "-H":
            name, _, value = words.pop(0).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = words.pop(0)
        else:
            url = word
    client = (await app.browser("Program")).client
    return (await client.request(method, url, headers=headers, content=body)).status_code


async def test_the_commands_of_the_page_about_the_api_succeed(
    app: TestApp, ada: Browser, bob: Browser
) -> None:
    await (await app.browser("Ada")).log_in()
    fields = {"name": "Program", "days": "7"}
    scopes = {f"scope-{scope}": "yes" for scope in SCOPES}
    token = read(await ada.post("/account/tokens", fields | scopes)).one(id="new-token").text
    ((session_id,),) = await app.rows(
        "SELECT sessions.id FROM sessions JOIN users ON users.id = user_id WHERE name = 'Ada'"
        " ORDER BY sessions.id LIMIT 1"
    )
    ((bob_id,),) = await app.rows("SELECT id FROM users WHERE name = 'Bob'")
    values = {"LATCHKEY": app.settings.base_url, "TOKEN": token}
    values |= {"SESSION_ID": session_id, "USER_ID": bob_id}
    found = commands()
    assert len(found) > 10
    for command in found:
        assert await run_curl(app, command, values) == 200, command
    assert await app.rows("SELECT role, team FROM users WHERE name = 'Bob'") == [
        ("editor", "Harbor")
    ]


def test_the_page_about_the_api_lists_every_scope() -> None:
    assert set(re.findall(r"^\| `([a-z]+:[a-z]+)` \|", PAGE.read_text(), re.M)) == set(SCOPES)
