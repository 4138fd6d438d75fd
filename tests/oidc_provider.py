"""Contains the functions that run the OpenID Connect provider of npm (`oidc-provider`), and walk
through its pages as a user.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from tests.browser_client import read
from tests.environment import work_settings
from tests.processes import Program, free_port, started
from web.settings.paths import ROOT

FOLDER: Final = ROOT / "tests" / "oidc"
# npm also installs the version of Node that the provider supports.
NODE: Final = shutil.which("node", path=FOLDER / "node_modules" / "node" / "bin")
IS_INSTALLED: Final = NODE is not None and (FOLDER / "node_modules" / "oidc-provider").is_dir()
CLIENT_ID: Final = "latchkey"
CLIENT_SECRET: Final = "the secret of the client at the provider"
USERS: Final = {
    "alice": {"email": "alice@example.com", "email_verified": True, "name": "Alice Example"},
    "bob": {"email": "bob@example.com", "email_verified": False, "name": "Bob Example"},
}

# In CI, REQUIRE_OIDC makes a missing provider a failure.
needs_oidc_provider = pytest.mark.skipif(
    not IS_INSTALLED and "REQUIRE_OIDC" not in os.environ,
    reason="there is no oidc-provider: run `npm ci` in tests/oidc",
)


@dataclass
class OidcProvider:
    """The settings of the provider. `site` is the URL of Latchkey, `name` that of the provider
    there.
    """

    port: int = field(default_factory=free_port)
    site: str = "http://localhost:8000"
    name: str = "work"
    users: dict[str, dict[str, Any]] = field(default_factory=lambda: deepcopy(USERS))
    claims_in_id_token: bool = True
    ends_sessions: bool = False

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, str]:
        """Returns the settings of Latchkey for this provider."""
        return work_settings(self.issuer, CLIENT_ID, CLIENT_SECRET)

    @property
    def _environment(self) -> str:
        url = f"{self.site}/login/with/{self.name}"
        return json.dumps(
            {
                "port": self.port,
                "clientId": CLIENT_ID,
                "clientSecret": CLIENT_SECRET,
                "redirectUri": f"{url}/callback",
                "logoutUri": f"{url}/logout" if self.ends_sessions else "",
                "users": self.users,
                "claimsInIdToken": self.claims_in_id_token,
            }
        )

    @contextmanager
    def running(self) -> Iterator[Program]:
        """Runs the provider until the block ends. Each run has new keys and no sessions."""
        command = (NODE or "node", FOLDER / "provider.mjs")
        with started(self.port, *command, OIDC_SETTINGS=self._environment) as program:
            yield program


@dataclass
class ProviderUser:
    """The browser of a user at the provider."""

    provider: OidcProvider
    name: str
    client: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=10))

    async def go(self, url: str, *, cancels: bool = False) -> str:
        """Logs in and consents where the provider asks for it, and returns the path and the query
        that it leads back to.
        """
        answer = await self.client.get(url)
        for _ in range(20):
            if answer.is_redirect:
                target = urljoin(str(answer.url), answer.headers["location"])
                if not target.startswith(self.provider.issuer):
                    parts = urlsplit(target)
                    return f"{parts.path}?{parts.query}"
                answer = await self.client.get(target)
            elif cancels:
                answer = await self.client.get(f"{answer.url}/abort")
            else:
                answer = await self._send_form(answer)
        raise AssertionError("the provider does not lead back")

    async def log_out(self) -> None:
        """Ends the session at the provider, by its own page."""
        answer = await self.client.get(f"{self.provider.issuer}/session/end")
        form = read(answer).one("form")
        fields = {one.attrs["name"]: one.attrs["value"] for one in form.all("input", type="hidden")}
        answer = await self.client.post(form.attrs["action"], data={**fields, "logout": "yes"})
        assert answer.status_code < 400, answer.text

    async def _send_form(self, answer: httpx.Response) -> httpx.Response:
        assert answer.status_code == 200, answer.text
        form = read(answer).one("form")
        fields = {one.attrs["name"]: one.attrs["value"] for one in form.all("input", type="hidden")}
        if fields.get("prompt") == "login":
            fields |= {"login": self.name, "password": "any"}
        target = urljoin(str(answer.url), form.attrs["action"])
        return await self.client.post(target, data=fields)
