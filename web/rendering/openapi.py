"""Contains the OpenAPI 3.1 document of the JSON API."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from web.brand import SITE_NAME
from web.http.cookies import cookie_name
from web.settings.settings import Settings

ROLE: Final = {"type": "string", "pattern": "^[a-z][a-z0-9-]{1,39}$"}
TEXT: Final = {"type": "string"}
NULLABLE_TEXT: Final = {"type": ["string", "null"]}
DATE_TIME: Final = {"type": "string", "format": "date-time"}
COUNT: Final = {"type": "integer", "minimum": 0}


def build_document(
    settings: Settings,
    title: str = SITE_NAME,
    product_paths: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Returns the document. `product_paths` are the paths of the API of a product."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": "1",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": settings.public_url}],
        "security": [{"session": []}],
        "paths": {
            "/api/session": {"get": _get("session", "Who is logged in", SESSION, 401)},
            "/api/forward": {"get": _forward()},
            "/api/token": {"post": _token(settings)},
            "/api/users/{slug}": {
                "get": _get(
                    "user",
                    "A user's profile: a field that the caller may not see is null",
                    PROFILE,
                    401,
                    404,
                )
                | {
                    "parameters": [
                        {
                            "name": "slug",
                            "in": "path",
                            "required": True,
                            "schema": {"type": "string"},
                        }
                    ]
                }
            },
            "/api/admin/users": {
                "get": _get(
                    "users", "All users, in pages, for administrators", USER_PAGE, 401, 403, 422
                )
                | {"parameters": QUERY}
            },
            **product_paths,
        },
        "components": {
            "securitySchemes": {
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": cookie_name(settings, "session"),
                }
            },
            "schemas": {"Problem": PROBLEM},
        },
    }


def _get(name: str, summary: str, schema: dict[str, Any], *errors: int) -> dict[str, Any]:
    ok = {"description": "OK", "content": {"application/json": {"schema": schema}}}
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": ok} | {str(status): _problem(status) for status in (*errors, 503)},
    }


def _forward() -> dict[str, Any]:
    """Returns the operation whose answer a reverse proxy reads from its status and headers."""
    summary = "Whether a request may pass to an application"
    operation = _get("forward", summary, {}, 401, 403, 422)
    del operation["responses"]["200"]
    login_url = {"X-Login-URL": {"description": "The log-in page", "schema": TEXT}}
    operation["responses"]["401"]["headers"] = login_url
    operation["responses"]["204"] = {
        "description": "The session is live",
        "headers": {
            name: {"description": description, "schema": TEXT}
            for name, description in IDENTITY_HEADERS.items()
        },
        "content": {},
    }
    operation["responses"]["303"] = {
        "description": "There is no session, and the request has login=redirect",
        "headers": {"Location": {"description": "The log-in page", "schema": TEXT}},
        "content": {},
    }
    return operation | {"parameters": FORWARD_QUERY}


def _token(settings: Settings) -> dict[str, Any]:
    origins = [settings.base_url, *settings.forward.return_origins]
    audience = {"type": "string", "enum": origins}
    operation = _get("token", "An identity token for an application", TOKEN, 401, 415, 422, 429)
    form = {"type": "object", "properties": {"audience": audience}}
    content = {"application/x-www-form-urlencoded": {"schema": form}}
    return operation | {"requestBody": {"content": content}}


def _problem(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": ERROR_DESCRIPTIONS[status],
        "content": {"application/problem+json": {"schema": schema}},
    }


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


ERROR_DESCRIPTIONS: Final = {
    401: "Not logged in",
    403: "Not an administrator, or another role than the request names",
    404: "Not found",
    415: "Not a form",
    422: "The query or the form is not valid",
    429: "Too many requests",
    503: "The database does not answer",
}
SESSION: Final = _object(
    user=_object(id=TEXT, name=TEXT, role=ROLE, slug=TEXT), expires_at=DATE_TIME
)
PROFILE: Final = _object(
    name=TEXT,
    slug=TEXT,
    role=ROLE,
    role_label=TEXT,
    team=TEXT,
    email=NULLABLE_TEXT,
    phone=NULLABLE_TEXT,
    created_at=DATE_TIME,
)
TOKEN: Final = _object(token=TEXT, expires_at=DATE_TIME)
IDENTITY_HEADERS: Final = {
    "Remote-User": "The id of the user, which never changes",
    "Remote-Email": "The confirmed email; absent if it is not confirmed",
    "Remote-Name": "The name, percent-encoded",
    "Remote-Role": "The role",
    "Remote-Groups": "The role and the team, separated by a comma",
    "Remote-Token": "An identity token",
}
FORWARD_QUERY: Final = [
    {
        "name": "role",
        "in": "query",
        "description": "Another role is refused. Administrators have every role.",
        "schema": {"type": "array", "items": TEXT},
    },
    {"name": "login", "in": "query", "schema": {"type": "string", "enum": ["redirect"]}},
]
BOOLEAN: Final = {"type": "boolean"}
USER_SUMMARY: Final = _object(
    id=TEXT,
    name=TEXT,
    email=TEXT,
    role=ROLE,
    role_label=TEXT,
    slug=TEXT,
    team=TEXT,
    disabled=BOOLEAN,
    verified=BOOLEAN,
)
USER_PAGE: Final = _object(
    users={"type": "array", "items": USER_SUMMARY}, total=COUNT, page=COUNT, pages=COUNT
)
QUERY: Final = [
    {"name": "q", "in": "query", "schema": {"type": "string", "maxLength": 254}},
    {
        "name": "page",
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    },
    {
        "name": "sort",
        "in": "query",
        "schema": {"type": "string", "enum": ["newest", "name", "email", "login"]},
    },
]
PROBLEM: Final = {
    "type": "object",
    "description": "Problem details (RFC 9457)",
    "properties": {
        "type": TEXT,
        "title": TEXT,
        "status": {"type": "integer"},
        "detail": TEXT,
        "errors": {"type": "object", "additionalProperties": {"type": "array", "items": TEXT}},
    },
    "required": ["type", "title", "status", "detail"],
}
