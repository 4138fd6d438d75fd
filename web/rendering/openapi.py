"""Contains the OpenAPI 3.1 document of the JSON API."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, get_args

from web.brand import SITE_NAME
from web.forms.fields import AccountState, SortOrder
from web.http.cookies import cookie_name
from web.settings.settings import Settings

Schema = Mapping[str, Any]
ROLE: Final = {"type": "string", "pattern": "^[a-z][a-z0-9-]{1,39}$"}
TEXT: Final = {"type": "string"}
NULLABLE_TEXT: Final = {"type": ["string", "null"]}
DATE_TIME: Final = {"type": "string", "format": "date-time"}
NULLABLE_TIME: Final = {"type": ["string", "null"], "format": "date-time"}
COUNT: Final = {"type": "integer", "minimum": 0}
BOOLEAN: Final = {"type": "boolean"}
TEXTS: Final = {"type": "array", "items": TEXT}
# The rules for characters that a user can see are not expressed here.
NAME_INPUT: Final = {"type": "string", "minLength": 2, "maxLength": 100}
SLUG_INPUT: Final = {"type": "string", "pattern": "^[a-z0-9-]{2,40}$"}
SHORT_INPUT: Final = {"type": "string", "maxLength": 40}
LABEL_INPUT: Final = {"type": "string", "minLength": 2, "maxLength": 40}
PERMISSIONS_INPUT: Final = {
    "type": "array",
    "items": {"type": "string", "maxLength": 80, "pattern": "^[a-z][a-z0-9-]*:[a-z][a-z0-9-]*$"},
    "maxItems": 100,
}


def build_document(
    settings: Settings,
    title: str = SITE_NAME,
    product_paths: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Returns the document. `product_paths` are the paths of the API of a product."""
    paths = {path: dict(operations) for path, operations in PATHS.items()}
    absent = set(STORED_SESSIONS if settings.stateless else ())
    absent |= set(INVITING if settings.sign_up.mode == "closed" else ())
    absent |= set() if settings.sends_mail else {RESEND}
    for path in absent:
        del paths[path]
    paths |= {"/api/forward": {"get": _forward()}, "/api/token": {"post": _token(settings)}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": "1",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": settings.public_url}],
        "security": [{"session": []}, {"token": []}],
        "paths": {**paths, **product_paths},
        "components": {
            "securitySchemes": {
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": cookie_name(settings, "session"),
                },
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A personal access token, which users create on "
                    "/account/tokens. `x-scope` of an operation names the scope that it needs.",
                },
            },
            "schemas": {"Problem": PROBLEM},
        },
    }


def _operation(
    name: str,
    scope: str,
    summary: str,
    schema: Schema,
    *errors: int,
    body: Schema | None = None,
    query: list[dict[str, Any]] | None = None,
    path: str = "",
) -> dict[str, Any]:
    """Returns an operation. `path` is the name of its path parameter.

    Without a scope, it accepts no access token.
    """
    ok = {"description": "OK", "content": {"application/json": {"schema": schema}}}
    statuses = {401, 403, *errors, 503} | ({404} if path else set())
    parameters = [*(query or []), *([_path_parameter(path)] if path else [])]
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "responses": {"200": ok} | {str(status): _problem(status) for status in sorted(statuses)},
    }
    if scope:
        operation["x-scope"] = scope
    else:
        operation["security"] = [{"session": []}]
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {"content": {"application/json": {"schema": body}}}
    return operation


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": TEXT}


def _forward() -> dict[str, Any]:
    """Returns the operation whose answer a reverse proxy reads from its status and headers."""
    summary = "Whether a request may pass to an application"
    operation = _operation("forward", "", summary, {}, 422)
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
    return _operation(
        "token",
        "",
        "An identity token for an application",
        IDENTITY_TOKEN,
        *(415, 422, 429),
        body=_body(audience=audience),
    )


def _problem(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": ERROR_DESCRIPTIONS[status],
        "content": {"application/problem+json": {"schema": schema}},
    }


def _object(**properties: Schema) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _body(*required: str, **properties: Schema) -> dict[str, Any]:
    """Returns the schema of a JSON body. Unknown members are ignored."""
    return {"type": "object", "properties": properties, "required": list(required)}


def _list(item: Schema) -> dict[str, Any]:
    return {"type": "array", "items": item}


def _query(name: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema}


ERROR_DESCRIPTIONS: Final = {
    401: "Not logged in, or the access token is not valid",
    403: "The role, a permission or the scope of the access token is missing",
    404: "Not found",
    409: "The change conflicts with the present state",
    415: "The body is not application/json",
    422: "The input is not valid",
    429: "Too many requests",
    503: "The database does not answer",
}
# The errors of every change, and of one with a body.
CHANGE: Final = (409, 415, 429)
INPUT: Final = (*CHANGE, 422)

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
IDENTITY_TOKEN: Final = _object(token=TEXT, expires_at=DATE_TIME)
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
ACCOUNT: Final = _object(
    id=TEXT,
    name=TEXT,
    email=TEXT,
    slug=TEXT,
    phone=TEXT,
    team=TEXT,
    role=ROLE,
    verified=BOOLEAN,
)
DEVICE: Final = _object(
    id=TEXT,
    name=TEXT,
    device_type={"enum": ["computer", "phone", "tablet", "terminal", "unknown"]},
    ip_address=TEXT,
    created_at=DATE_TIME,
    last_seen_at=DATE_TIME,
    current=BOOLEAN,
)
OWN_ENTRY: Final = _object(
    at=DATE_TIME,
    event=TEXT,
    outcome=TEXT,
    ip_address=TEXT,
    browser=TEXT,
    is_own=BOOLEAN,
    text=TEXT,
)
TOKEN: Final = _object(
    id=TEXT,
    name=TEXT,
    created_at=DATE_TIME,
    expires_at=DATE_TIME,
    last_used_at=NULLABLE_TIME,
    scopes=TEXTS,
)
USER: Final = _object(
    id=TEXT,
    name=TEXT,
    email=TEXT,
    role=ROLE,
    role_label=TEXT,
    slug=TEXT,
    team=TEXT,
    disabled=BOOLEAN,
    verified=BOOLEAN,
    delete_at=NULLABLE_TIME,
)
ENTRY: Final = _object(
    number=COUNT,
    at=DATE_TIME,
    event=TEXT,
    outcome=TEXT,
    actor_type=TEXT,
    actor_name=NULLABLE_TEXT,
    actor_slug=NULLABLE_TEXT,
    target_name=NULLABLE_TEXT,
    target_slug=NULLABLE_TEXT,
    ip_address=TEXT,
    browser=TEXT,
    label=TEXT,
    note=TEXT,
)
ROLE_SETTINGS: Final = _object(
    name=ROLE,
    label=TEXT,
    user_count=COUNT,
    invitation_count=COUNT,
    permissions=TEXTS,
    is_built_in=BOOLEAN,
)
PAGE: Final = _query("page", type="integer", minimum=1, maximum=999_999_999)
SEARCH: Final = _query("q", type="string", maxLength=254, pattern=r"^[^\u0000]*$")
ENDED: Final = _object(ended=COUNT)
NOTHING: Final = _object()
INVITATIONS: Final = _object(
    invitations=_list(
        _object(
            id=TEXT,
            email=TEXT,
            role=ROLE,
            team=TEXT,
            inviter=NULLABLE_TEXT,
            expires_at=DATE_TIME,
        )
    )
)
RESEND: Final = "/api/admin/invitations/{id}/resend"
INVITING: Final = ("/api/admin/invitations", "/api/admin/invitations/{id}", RESEND)
STORED_SESSIONS: Final = (
    "/api/account/sessions",
    "/api/account/sessions/revoke-others",
    "/api/account/sessions/{id}",
)
PATHS: Final[Mapping[str, Mapping[str, Any]]] = {
    "/api/session": {
        "get": _operation("session", "account:read", "Who is logged in", SESSION),
    },
    "/api/users/{slug}": {
        "get": _operation(
            "user",
            "users:read",
            "A user's profile: a field that the caller may not see is null",
            PROFILE,
            path="slug",
        ),
    },
    "/api/account": {
        "get": _operation("account", "account:read", "The caller's account", ACCOUNT),
        "patch": _operation(
            "change-account",
            "account:write",
            "Change the profile: an absent field stays as it is",
            ACCOUNT,
            *INPUT,
            body=_body(name=NAME_INPUT, slug=SLUG_INPUT, phone=SHORT_INPUT),
        ),
    },
    "/api/account/sessions": {
        "get": _operation(
            "sessions", "account:read", "The caller's sessions", _object(sessions=_list(DEVICE))
        ),
    },
    "/api/account/sessions/revoke-others": {
        "post": _operation(
            "revoke-other-sessions",
            "account:write",
            "End every session except that of the request",
            ENDED,
            *CHANGE,
        ),
    },
    "/api/account/sessions/revoke-all": {
        "post": _operation(
            "revoke-all-sessions",
            "account:write",
            "End every session and delete every access token, including those of the request",
            NOTHING,
            *CHANGE,
        ),
    },
    "/api/account/sessions/{id}": {
        "delete": _operation(
            "revoke-session", "account:write", "End a session", ENDED, *CHANGE, path="id"
        ),
    },
    "/api/account/activity": {
        "get": _operation(
            "activity",
            "account:read",
            "What happened in the caller's account, newest first",
            _object(entries=_list(OWN_ENTRY), page=COUNT, more=BOOLEAN),
            422,
            query=[PAGE],
        ),
    },
    "/api/account/tokens": {
        "get": _operation(
            "tokens",
            "account:read",
            "The caller's access tokens, without the tokens themselves",
            _object(tokens=_list(TOKEN)),
        ),
    },
    "/api/account/tokens/{id}": {
        "delete": _operation(
            "revoke-token", "account:write", "Delete an access token", ENDED, *CHANGE, path="id"
        ),
    },
    "/api/admin/users": {
        "get": _operation(
            "users",
            "admin:read",
            "All users, in pages, for administrators",
            _object(users=_list(USER), total=COUNT, page=COUNT, pages=COUNT),
            422,
            query=[
                SEARCH,
                PAGE,
                _query("role", type="string", pattern="^([a-z][a-z0-9-]{1,39})?$"),
                _query("state", type="string", enum=list(get_args(AccountState))),
                _query("sort", type="string", enum=list(get_args(SortOrder))),
            ],
        ),
        "post": _operation(
            "add-user",
            "admin:write",
            "Create an account; a mail tells its user how to choose a password",
            USER,
            *INPUT,
            body=_body("name", "email", "role", name=TEXT, email=TEXT, role=ROLE, team=TEXT),
        ),
    },
    "/api/admin/users/{id}": {
        "get": _operation("admin-user", "admin:read", "One user", USER, path="id"),
        "delete": _operation(
            "delete-user",
            "admin:write",
            "Disable an account, and delete it in seven days",
            USER,
            *INPUT,
            path="id",
        ),
    },
    "/api/admin/users/{id}/keep": {
        "post": _operation(
            "keep-user",
            "admin:write",
            "Keep an account that is about to be deleted; it stays disabled",
            USER,
            *CHANGE,
            path="id",
        ),
    },
    "/api/admin/invitations": {
        "get": _operation("invitations", "admin:read", "The open invitations", INVITATIONS),
        "post": _operation(
            "invite",
            "admin:write",
            "Invite someone, by mail if mails are sent",
            INVITATIONS,
            *INPUT,
            body=_body("email", "role", email=TEXT, role=ROLE, team=TEXT),
        ),
    },
    "/api/admin/invitations/{id}": {
        "delete": _operation(
            "withdraw-invitation",
            "admin:write",
            "End both links of an invitation",
            INVITATIONS,
            *CHANGE,
            path="id",
        ),
    },
    "/api/admin/invitations/{id}/resend": {
        "post": _operation(
            "resend-invitation",
            "admin:write",
            "Send the mail of an invitation again, which is then valid for another seven days",
            INVITATIONS,
            *CHANGE,
            path="id",
        ),
    },
    "/api/admin/users/{id}/role": {
        "put": _operation(
            "change-role",
            "admin:write",
            "Change a user's role",
            USER,
            *INPUT,
            body=_body("role", role=ROLE),
            path="id",
        ),
    },
    "/api/admin/users/{id}/team": {
        "put": _operation(
            "change-team",
            "admin:write",
            "Change a user's team; an empty team is none",
            USER,
            *INPUT,
            body=_body("team", team=SHORT_INPUT),
            path="id",
        ),
    },
    "/api/admin/users/{id}/disable": {
        "post": _operation(
            "disable-user", "admin:write", "Disable an account", USER, *CHANGE, path="id"
        ),
    },
    "/api/admin/users/{id}/enable": {
        "post": _operation(
            "enable-user", "admin:write", "Enable an account", USER, *CHANGE, path="id"
        ),
    },
    "/api/admin/users/{id}/end-sessions": {
        "post": _operation(
            "end-sessions",
            "admin:write",
            "End every session of a user and delete the user's access tokens",
            ENDED,
            *CHANGE,
            path="id",
        ),
    },
    "/api/admin/audit": {
        "get": _operation(
            "audit",
            "admin:read",
            "The audit log, newest first",
            _object(entries=_list(ENTRY), page=COUNT, more=BOOLEAN),
            422,
            query=[
                SEARCH,
                PAGE,
                _query("event", type="string"),
                _query("outcome", type="string", enum=["", "done", "refused"]),
            ],
        ),
    },
    "/api/admin/roles": {
        "get": _operation("roles", "admin:read", "All roles", _object(roles=_list(ROLE_SETTINGS))),
        "post": _operation(
            "create-role",
            "admin:write",
            "Add a role",
            ROLE_SETTINGS,
            *INPUT,
            body=_body(
                "name", "label", name=ROLE, label=LABEL_INPUT, permissions=PERMISSIONS_INPUT
            ),
        ),
    },
    "/api/admin/roles/{role}": {
        "get": _operation("role", "admin:read", "One role", ROLE_SETTINGS, path="role"),
        "patch": _operation(
            "edit-role",
            "admin:write",
            "Change the label and the permissions of a role: an absent field stays as it is",
            ROLE_SETTINGS,
            *INPUT,
            body=_body(label=LABEL_INPUT, permissions=PERMISSIONS_INPUT),
            path="role",
        ),
        "delete": _operation(
            "delete-role",
            "admin:write",
            "Delete a role that no user and no invitation has",
            NOTHING,
            *CHANGE,
            path="role",
        ),
    },
}
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
