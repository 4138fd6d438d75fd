"""Tests that the OpenAPI document is valid and that the running program conforms to it."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import jsonschema_rs
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from schemathesis import APIOperation, GenerationMode
from schemathesis.config import GenerationConfig, SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from db.access import operator
from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.scopes import SCOPES
from db.viewer import Operator
from tests.browser_client import HTMX, PASSWORD, Browser, read, set_cookie_of
from tests.conftest import TestApp
from tests.environment import environ_of
from web.app import create_app, open_store
from web.routes import routes
from web.settings.settings import Settings, read_settings

BOTH = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
GENERATION = GenerationConfig(with_security_parameters=False)
BOUNDED = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[*HealthCheck],
)


# These end the session or the token of the other requests.
ENDS_THE_SESSION = ("revoke-all-sessions", "revoke-other-sessions")
FORM = {"name": "Program", "days": "7"}


@dataclass
class ApiServer:
    """The program on a real port, and the headers of each caller."""

    url: str
    callers: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def server(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    folder = tmp_path_factory.mktemp("openapi")
    (folder / "latchkey.db").write_bytes(migrated.read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        environ = environ_of(folder / "latchkey.db", PORT=port)
        app_settings = read_settings({**environ, "RATE_LIMITS": "off"}, data=folder)
        asyncio.run(create_admin(app_settings))
        uvicorn_server = uvicorn.Server(
            uvicorn.Config(create_app(app_settings), log_config=None, access_log=False, ws="none")
        )
        thread = threading.Thread(target=uvicorn_server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield ApiServer(app_settings.base_url, callers_at(app_settings.base_url))
        finally:
            uvicorn_server.should_exit = True
            thread.join()


async def create_admin(app_settings: Settings) -> None:
    """Creates an administrator as the operator does."""
    store = open_store(app_settings, passwords=Passwords(memory_kib=8, passes=1))
    await store.database.connect()
    caller, password = Operator(store), Secret(PASSWORD)
    await operator.create_user(
        caller, name="Ada", email="ada@example.com", password=password, role="admin"
    )
    await store.database.disconnect()


def cookies_of(answer: httpx.Response) -> str:
    """Returns the cookies of a user who has just logged in, as the header of the next request."""
    return "; ".join(f"{name}={answer.cookies[name]}" for name in ("session", "sudo"))


def callers_at(url: str) -> dict[str, dict[str, str]]:
    """Returns the cookies of a user and an administrator, and a token of the latter."""
    alice = {"name": "Alice", "email": "alice@example.com", "password": PASSWORD}
    ada = {"email": "ada@example.com", "password": PASSWORD}
    with httpx.Client(base_url=url, transport=httpx.HTTPTransport(retries=5)) as client:
        cookies = {"user": cookies_of(client.post("/signup", data=alice))}
        client.cookies.clear()
        cookies["admin"] = cookies_of(client.post("/login", data=ada))
        scopes = {f"scope-{scope}": "yes" for scope in SCOPES}
        token = read(client.post("/account/tokens", data=FORM | scopes)).one(id="new-token").text
    callers = {role: {"Cookie": cookie} for role, cookie in cookies.items()}
    return callers | {"anonymous": {}, "token": {"Authorization": f"Bearer {token}"}}


@pytest.fixture
def schema(server: ApiServer) -> schemathesis.BaseSchema:
    """Returns the served document. The tests send the cookies themselves, not the generator."""
    config = SchemathesisConfig.from_dict({"generation": {"with-security-parameters": False}})
    return schemathesis.openapi.from_url(f"{server.url}/api/openapi.json", config=config)


def operations(schema: schemathesis.BaseSchema) -> Iterator[APIOperation]:
    found = (result.ok() for result in schema.get_all_operations())
    return (each for each in found if each.definition.raw["operationId"] not in ENDS_THE_SESSION)


def test_the_document_is_valid_openapi(schema: schemathesis.BaseSchema) -> None:
    schema.validate()  # This validates against the schema of the OpenAPI Initiative.
    assert schema.raw_schema["openapi"].startswith("3.1.")
    for operation in operations(schema):
        for response in operation.definition.raw["responses"].values():
            for content in response["content"].values():
                jsonschema_rs.Draft202012Validator(
                    content["schema"] | {"components": schema.raw_schema["components"]}
                )


def test_the_document_describes_every_route_of_the_api(schema: schemathesis.BaseSchema) -> None:
    declared = {row.path: set(row.endpoints) for row in routes if row.path.startswith("/api/")}
    del declared["/api/openapi.json"]
    documented = schema.raw_schema["paths"].items()
    assert {path: {method.upper() for method in item} for path, item in documented} == declared


@pytest.mark.guide("D31", "D33", "T1")
@pytest.mark.asvs("S76")
@pytest.mark.parametrize(
    ("role", "statuses"),
    [
        ("anonymous", {303, 401, 422}),
        ("user", {200, 204, 403, 404, 415, 422}),
        ("admin", {200, 204, 404, 415, 422}),
        ("token", {200, 303, 401, 404, 415, 422}),
    ],
)
def test_random_requests_are_answered_as_the_document_says(
    schema: schemathesis.BaseSchema, server: ApiServer, role: str, statuses: set[int]
) -> None:
    """Sends valid and invalid requests: random values, boundary values, and other methods."""
    seen: set[int] = set()

    def call(case: schemathesis.Case) -> None:
        # The document cannot express every rule, such as that for invisible characters, and does
        # not list the events of the audit log.
        is_inexact = case.operation.body or case.operation.path == "/api/admin/audit"
        excluded = [positive_data_acceptance] if is_inexact else []
        answer = case.call_and_validate(headers=server.callers[role], excluded_checks=excluded)
        seen.add(answer.status_code)

    for operation in operations(schema):
        for case in schema.iter_coverage_cases(
            operation, generation_modes=BOTH, generation_config=GENERATION
        ):
            call(case)
        # An operation whose only parameter is any string has no invalid requests.
        for mode in BOTH if operation.query or operation.body else BOTH[:1]:
            BOUNDED(given(operation.as_strategy(generation_mode=mode))(call))()
    assert seen == statuses | {405}


@pytest.mark.guide("D33")
@pytest.mark.parametrize("role", ["user", "admin"])
def test_existing_resources_are_answered_as_the_document_says(
    schema: schemathesis.BaseSchema, server: ApiServer, role: str
) -> None:
    session, users = schema["/api/session"]["GET"], schema["/api/admin/users"]["GET"]
    profile = schema["/api/users/{slug}"]["GET"]
    # The random requests may have changed the slugs.
    alice, ada = [
        httpx.get(f"{server.url}/api/session", headers=server.callers[name]).json()["user"]["slug"]
        for name in ("user", "admin")
    ]
    cases = [
        session.Case(),
        profile.Case(path_parameters={"slug": alice}),
        users.Case(query={"sort": "login"}),
    ]
    cases += [
        profile.Case(path_parameters={"slug": ada}),
        users.Case(query={"q": "nobody", "page": 9}),
    ]
    answers = [case.call_and_validate(headers=server.callers[role]).status_code for case in cases]
    assert answers == [
        200,
        200,
        200 if role == "admin" else 403,
        200,
        200 if role == "admin" else 403,
    ]


# The tests from here on check what an OpenAPI document cannot express.


def is_a_problem(answer: httpx.Response, status: int) -> bool:
    """Returns whether the answer is a problem document (RFC 9457) without a redirect."""
    return (
        (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        and answer.json()["status"] == status
        and {"type", "title", "detail"} < set(answer.json())
        and not {"location", "hx-redirect"} & set(answer.headers)
    )


HEADER_SETS = [
    {},
    HTMX,
    {"Accept": "text/html"},
    {"HX-Request": "true", "HX-Current-URL": "http://localhost:8000/devices"},
]


@pytest.mark.guide("D31", "T1")
@pytest.mark.asvs("S04")
@pytest.mark.parametrize("headers", HEADER_SETS)
async def test_errors_are_problem_documents_for_every_client(
    app: TestApp, alice: Browser, ada: Browser, anonymous: Browser, headers: dict[str, str]
) -> None:
    for path in ("/api/session", "/api/users/ada", "/api/admin/users"):
        answer = await anonymous.get(path, **headers)
        assert is_a_problem(answer, 401), path
        assert "ada@example.com" not in answer.text
    refused = await alice.get("/api/admin/users", **headers)
    assert is_a_problem(refused, 403)
    assert "example.com" not in refused.text
    assert is_a_problem(await alice.get("/api/users/nobody", **headers), 404)
    assert is_a_problem(await alice.get("/api/nothing", **headers), 404)
    assert is_a_problem(await alice.get("/api/", **headers), 404)
    for query, field in (
        ("page=x", "page"),
        ("page=0", "page"),
        ("sort=age", "sort"),
        ("q=" + "x" * 255, "q"),
    ):
        answer = await ada.get(f"/api/admin/users?{query}", **headers)
        assert is_a_problem(answer, 422), query
        assert [*answer.json()["errors"]] == [field]
        assert all(isinstance(sentence, str) for sentence in answer.json()["errors"][field])
    for path in ("/api/session", "/api/users/ada", "/api/admin/audit", "/api/openapi.json"):
        answer = await ada.post(path, {}, **headers)
        assert (is_a_problem(answer, 405), {*answer.headers["allow"].split(", ")}) == (
            True,
            {"GET", "HEAD"},
        )


@pytest.mark.guide("D31", "D33")
@pytest.mark.parametrize("headers", HEADER_SETS)
async def test_answers_are_json_for_every_client(ada: Browser, headers: dict[str, str]) -> None:
    for path in ("/api/session", "/api/users/ada", "/api/admin/users", "/api/openapi.json"):
        answer = await ada.get(path, **headers)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), (
            path
        )


@pytest.mark.guide("D31")
async def test_administrators_get_all_users_with_these_fields(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    ids = dict(await app.rows("SELECT name, id FROM users"))
    await ada.post(f"/admin/users/{ids['Alice']}/disable")
    await ada.post(f"/admin/users/{ids['Alice']}/team", {"team": "Harbour"})
    answer = await ada.get("/api/admin/users?q=ALICE&sort=name")
    user = {
        "id": ids["Alice"],
        "name": "Alice",
        "email": "alice@example.com",
        "role": "user",
        "slug": "alice",
        "role_label": "User",
        "delete_at": None,
    }
    assert answer.json() == {
        "users": [user | {"team": "Harbour", "disabled": True, "verified": False}],
        "total": 1,
        "page": 1,
        "pages": 1,
    }


@pytest.mark.guide("D31", "D2")
@pytest.mark.asvs("S37")
async def test_an_ended_session_is_answered_with_401_and_its_cookie_deleted(
    app: TestApp, ada: Browser
) -> None:
    cookie = ada.cookie
    await app.change("DELETE FROM sessions")
    for path in ("/api/session", "/api/users/ada", "/api/admin/users"):
        ada.cookie = cookie
        answer = await ada.get(path)
        assert is_a_problem(answer, 401), path
        assert (set_cookie_of(answer)["session"]["max-age"], ada.cookie) == ("0", None)


@pytest.mark.asvs("S75")
@pytest.mark.guide("D35")
async def test_no_other_origin_may_read_an_answer(ada: Browser, anonymous: Browser) -> None:
    for user in (ada, anonymous):
        for path in (
            "/api/session",
            "/api/users/ada",
            "/api/admin/users",
            "/api/openapi.json",
            "/api/nothing",
        ):
            for method in ("GET", "OPTIONS", "POST"):
                for origin in ("https://evil.example", "null", "http://localhost:8000"):
                    headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
                    answer = await user.request(method, path, **headers)
                    assert not [
                        name for name in answer.headers if name.startswith("access-control")
                    ]
                    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.guide("D35")
@pytest.mark.asvs("S31")
async def test_a_cross_site_post_is_answered_with_a_problem_document(ada: Browser) -> None:
    assert is_a_problem(await ada.post("/api/session", {}, Sec_Fetch_Site="cross-site"), 403)
