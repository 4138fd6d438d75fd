"""A browser for tests over HTTP, and a reader of the HTML that the application returns.

Alice and Bob are users, and Ada is an administrator.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from typing import Any
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
    """A browser of one user. It stores cookies, sends the headers of a browser with each form, and
    does not follow redirects.
    """

    client: httpx.AsyncClient
    name: str
    email: str
    password: str = PASSWORD
    user_agent: str = FIREFOX
    headers: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self._send("GET", path, None, headers)

    async def post(
        self, path: str, fields: dict[str, str] | None = None, **headers: str
    ) -> httpx.Response:
        return await self._send(
            "POST", path, fields or {}, {"Sec-Fetch-Site": "same-origin", **headers}
        )

    async def get_fragment(self, path: str, **headers: str) -> httpx.Response:
        return await self.get(path, **HTMX, **headers)

    async def post_fragment(
        self, path: str, fields: dict[str, str] | None = None, **headers: str
    ) -> httpx.Response:
        return await self.post(path, fields, **HTMX, **headers)

    async def request(
        self, method: str, path: str, fields: dict[str, Any] | None = None, **headers: str
    ) -> httpx.Response:
        """Sends a request of any method with only the given headers."""
        return await self._send(method, path, fields, headers)

    async def sign_up(self, **headers: str) -> httpx.Response:
        return await self.post(
            "/signup",
            {"name": self.name, "email": self.email, "password": self.password},
            **headers,
        )

    async def log_in(self, password: str | None = None, **fields: str) -> httpx.Response:
        return await self.post(
            "/login", {"email": self.email, "password": password or self.password, **fields}
        )

    async def confirm(self, password: str | None = None, **fields: str) -> httpx.Response:
        """Confirms the identity of the user by the password."""
        return await self.post("/confirm", {"password": password or self.password, **fields})

    async def is_logged_in(self) -> bool:
        """Returns whether the dashboard, which verifies the session in the database, is shown."""
        return (await self.get("/dashboard")).status_code == 200

    @property
    def cookie(self) -> str | None:
        return self.client.cookies.get("session") or self.client.cookies.get("__Host-session")

    @cookie.setter
    def cookie(self, value: str | None) -> None:
        self.client.cookies.clear()
        if value is not None:
            self.client.cookies.set("session", value, domain="localhost.local", path="/")

    async def _send(
        self, method: str, path: str, fields: dict[str, Any] | None, headers: dict[str, str]
    ) -> httpx.Response:
        all_headers = {
            "User-Agent": self.user_agent,
            **self.headers,
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }
        if path.startswith("/api/") and fields:  # The API takes JSON in place of a form.
            all_headers = {"Content-Type": "application/json"} | all_headers
            body = json.dumps(fields)
            return await self.client.request(method, path, content=body, headers=all_headers)
        return await self.client.request(method, path, data=fields, headers=all_headers)


def set_cookie_of(answer: httpx.Response) -> SimpleCookie:
    """Returns all Set-Cookie headers of a response, parsed."""
    jar: SimpleCookie = SimpleCookie()
    for line in answer.headers.get_list("set-cookie"):
        jar.load(line)
    return jar


def without_challenges(html: str) -> str:
    """Returns the HTML of a page without what is random in its form for a passkey."""
    return re.sub(r'(data-options|name="challenge" value)="[^"]*"', r'\1=""', html)


def path_of(url: str) -> str:
    return urlsplit(url).path


@dataclass
class Element:
    """An HTML element, whose children are texts and elements in the order of the page."""

    tag: str
    attrs: dict[str, str]
    children: list["Element | str"] = field(default_factory=list)

    def __iter__(self) -> Iterator["Element"]:
        """Yields all descendants in the order of the page."""
        for child in self.children:
            if isinstance(child, Element):
                yield child
                yield from child

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    @property
    def shape(self) -> list[tuple[str, ...]]:
        """Returns the tag and the attribute names of each descendant. Text of users must not change
        them.
        """
        return [(element.tag, *element.attrs) for element in self]

    def all(self, tag: str = "", **attrs: str | bool) -> list["Element"]:
        """Returns the descendants with this tag and these attributes.

        `data_rule` stands for `data-rule`, and the value True for any value.
        """
        wanted = {name.replace("_", "-"): value for name, value in attrs.items()}
        return [
            element
            for element in self
            if tag in ("", element.tag)
            and all(
                name in element.attrs and value in (True, element.attrs[name])
                for name, value in wanted.items()
            )
        ]

    def one(self, tag: str = "", **attrs: str | bool) -> "Element":
        found = self.all(tag, **attrs)
        assert len(found) == 1, f"{len(found)} of <{tag} {attrs}>"
        return found[0]


VOID = {
    "area",
    "base",
    "br",
    "col",
    "embed",
    "hr",
    "img",
    "input",
    "link",
    "meta",
    "source",
    "track",
    "wbr",
}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if any(element.tag == tag for element in self.open[1:]):
            while self.open.pop().tag != tag:
                pass

    def handle_data(self, data: str) -> None:
        # Browsers display the line ends and the indentation of a partial as one space.
        self.open[-1].children.append(re.sub(r"\n +", " ", data))


def read(answer: httpx.Response | str) -> Element:
    """Returns the root element of the parsed HTML."""
    reader = _Reader()
    reader.feed(answer if isinstance(answer, str) else answer.text)
    reader.close()
    return reader.root
