"""Contains the router, which finds most routes by one dictionary lookup."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from pydantic import BaseModel
from starlette import routing
from starlette.datastructures import URLPath
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from db.messages import Message
from db.role_names import is_permission_name
from web.http.methods import SAFE_METHODS
from web.http.session import verify_role
from web.http.sudo import verify_sudo, verify_sudo_admin
from web.middleware.guard import Guard, RouteAccess

LOGGED_IN: Final = (RouteAccess.MEMBERS, RouteAccess.ADMINS, RouteAccess.ROLE)

Endpoint = Callable[[Request], Awaitable[Response]]


class AppRoute(Route):
    """One URL with its route access, its guard and one endpoint per method.

    Router and guard share one object and so cannot disagree about the path. With `role`, the
    route verifies in the database that the viewer has this role, before it calls the endpoint. With
    `scope`, which only a route of the API may have, the route also accepts access tokens: `account`
    requires the scope `account:read` for safe methods and `account:write` for others. With `sudo`,
    the user must have confirmed their identity within the last ten minutes, before the endpoint is
    called; its value completes the sentence "To …, confirm that it's you". That applies to forms,
    and with `sudo_page` also to the page. With `form`, the path parameter `{field}` must be the
    name of one of the form's fields.
    """

    def __init__(
        self,
        access: RouteAccess,
        path: str,
        *,
        get: Endpoint | None = None,
        post: Endpoint | None = None,
        put: Endpoint | None = None,
        patch: Endpoint | None = None,
        delete: Endpoint | None = None,
        name: str,
        role: str = "",
        scope: str = "",
        sudo: str = "",
        sudo_page: bool = False,
        form: type[BaseModel] | None = None,
    ) -> None:
        if (access is RouteAccess.ROLE) != bool(role):
            raise ValueError(f"{path}: only a route for one role has a role")
        self.access = access
        if scope and not (path.startswith("/api/") and is_permission_name(f"{scope}:read")):
            raise ValueError(f"{path}: only a route of the API accepts access tokens")
        if sudo and access not in LOGGED_IN:
            raise ValueError(f"{path}: only a route for logged-in users can need a confirmation")
        self.sudo = Message(sudo)
        self.sudo_page = sudo_page
        self.role = role
        self.token_scope = scope
        self.form = form
        endpoints = {"GET": get, "POST": post, "PUT": put, "PATCH": patch, "DELETE": delete}
        self.endpoints = {method: found for method, found in endpoints.items() if found}
        super().__init__(path, self._respond, methods=list(self.endpoints), name=name)
        self.allowed_methods = [*self.endpoints, "HEAD"] if get else [*self.endpoints]
        self.app = Guard(self._respond, access)

    @property
    def access_text(self) -> str:
        """Returns who may call the route, such as `members` or `requires editor`."""
        return f"{self.access.value} {self.role}".rstrip()

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Returns no match, because `web.router.Router` checks these routes before Starlette's
        router.
        """
        return Match.NONE, {}

    def accepts(self, parameters: Mapping[str, str]) -> bool:
        """Returns whether the path parameters name an existing URL.

        NUL is rejected because PostgreSQL cannot store it in text.
        """
        if self.form and parameters["field"] not in self.form.model_fields:
            return False
        return not any("\0" in value for value in parameters.values())

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self.endpoints["GET" if scope["method"] == "HEAD" else scope["method"]]
        request = Request(scope, receive, send)
        if self.role:
            await verify_role(request, self.role)
        if self.sudo and (self.sudo_page or scope["method"] not in SAFE_METHODS):
            is_admin_route = self.access is RouteAccess.ADMINS
            await (verify_sudo_admin if is_admin_route else verify_sudo)(request)
        response = await endpoint(request)
        await response(scope, receive, send)


# The rows of the route table, by the users who may call them.
Anyone: Final = partial(AppRoute, RouteAccess.ANYONE)
Guests: Final = partial(AppRoute, RouteAccess.GUESTS)
Claimants: Final = partial(AppRoute, RouteAccess.CLAIMANTS)
Members: Final = partial(AppRoute, RouteAccess.MEMBERS)
Admins: Final = partial(AppRoute, RouteAccess.ADMINS)
Operators: Final = partial(AppRoute, RouteAccess.OPERATORS)


def Requires(role: str, path: str, **options: Any) -> AppRoute:
    """Returns a route for users with this role, and for administrators."""
    return AppRoute(RouteAccess.ROLE, path, role=role, **options)


class Router(routing.Router):
    """Starlette's router with a faster lookup for `AppRoute`.

    Paths without parameters are found by one dictionary lookup. Paths with parameters are compared
    one after the other. All other routes are left to Starlette.
    """

    def __init__(self, routes: Sequence[BaseRoute], lifespan: Any, base_path: str = "") -> None:
        # Starlette builds the slash redirect from the Host header, which the client controls.
        super().__init__(redirect_slashes=False, lifespan=lifespan)
        self.base_path = base_path
        self.set_routes(routes)

    def set_routes(self, routes: Sequence[BaseRoute]) -> None:
        """Replaces every route.

        Starlette finds routes that are not an AppRoute, such as a Mount.
        """
        self.routes = list(routes)
        app_routes = [route for route in routes if isinstance(route, AppRoute)]
        self._by_path = {route.path: route for route in app_routes if not route.param_convertors}
        self._with_parameters = [route for route in app_routes if route.param_convertors]

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:  # type: ignore[override]
        route = self._find(scope) if scope["type"] == "http" else None
        if route is None:
            return super().__call__(scope, receive, send)
        scope["route"] = route
        if scope["method"] not in route.allowed_methods:
            raise HTTPException(405, headers={"Allow": ", ".join(route.allowed_methods)})
        return route.app(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Returns the path that browsers see, with BASE_PATH.

        `url()` in templates, `url_path()` and the links of mails get their paths here.
        """
        return URLPath(f"{self.base_path}{super().url_path_for(name, **path_params)}")

    def needs_confirmation(self, path: str, method: str) -> Message | None:
        """Returns what a request needs a confirmation for, such as `change your email`; None if it
        needs none.

        `path` is without BASE_PATH.
        """
        route, _ = self._match(path)
        if route is None or not route.sudo or method not in route.allowed_methods:
            return None
        return route.sudo if route.sudo_page or method not in SAFE_METHODS else None

    def _find(self, scope: Scope) -> AppRoute | None:
        route, parameters = self._match(scope["path"])
        if route is not None:
            scope["path_params"] = parameters
        return route

    def _match(self, path: str) -> tuple[AppRoute | None, dict[str, str]]:
        route = self._by_path.get(path)
        if route is not None:
            return route, {}
        for route in self._with_parameters:
            match = route.path_regex.fullmatch(path)
            if match and route.accepts(match.groupdict()):
                return route, match.groupdict()
        return None, {}
