"""The cast: Alice, a user; Bob, a stranger to Alice; Ada, the administrator. They come in through the real door."""

from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

import httpx

PASSWORD = "engine-No.9 to the sea"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Mobile/15E148 Safari/604.1"
)
HTMX = {"HX-Request": "true"}


@dataclass
class Browser:
    """One browser of one person: it keeps its cookie, follows nothing, and sends what a browser sends with a form."""

    client: httpx.AsyncClient
    name: str
    email: str
    password: str = PASSWORD
    user_agent: str = FIREFOX
    headers: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self._send("GET", path, None, headers)

    async def post(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        return await self._send("POST", path, fields or {}, {"Sec-Fetch-Site": "same-origin", **headers})

    async def get_fragment(self, path: str, **headers: str) -> httpx.Response:
        return await self.get(path, **HTMX, **headers)

    async def post_fragment(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        return await self.post(path, fields, **HTMX, **headers)

    async def sign_up(self) -> httpx.Response:
        return await self.post("/signup", {"name": self.name, "email": self.email, "password": self.password})

    async def log_in(self, password: str | None = None, **fields: str) -> httpx.Response:
        return await self.post("/login", {"email": self.email, "password": password or self.password, **fields})

    @property
    def cookie(self) -> str | None:
        return self.client.cookies.get("session")

    @cookie.setter
    def cookie(self, value: str | None) -> None:
        self.client.cookies.clear()
        if value is not None:
            self.client.cookies.set("session", value, domain="localhost.local", path="/")

    async def _send(
        self, method: str, path: str, fields: dict[str, str] | None, headers: dict[str, str]
    ) -> httpx.Response:
        sent = {"User-Agent": self.user_agent, **self.headers, **{k.replace("_", "-"): v for k, v in headers.items()}}
        return await self.client.request(method, path, data=fields, headers=sent)


def set_cookie_of(answer: httpx.Response) -> SimpleCookie:
    """Every Set-Cookie of an answer, parsed."""
    jar: SimpleCookie = SimpleCookie()
    for line in answer.headers.get_list("set-cookie"):
        jar.load(line)
    return jar


def path_of(url: str) -> str:
    return urlsplit(url).path
