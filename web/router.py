"""The router: a dictionary for the paths without parameters, then the rows that have some, then
Starlette's own way.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from starlette import routing
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from web.middleware.guard import Guard, Kind

Endpoint = Callable[[Request], Awaitable[Response]]


class Row(Route):
    """One URL: its kind, its guard, an endpoint for each method.

    Router and guard cannot disagree about the path.

    With `form`, `{field}` is one of its fields: there is no other such URL.
    """

    def __init__(
        self,
        kind: Kind,
        path: str,
        *,
        get: Endpoint | None = None,
        post: Endpoint | None = None,
        name: str,
        form: type[BaseModel] | None = None,
    ) -> None:
        self.kind = kind
        self.form = form
        self.by_method = {
            method: found for method, found in (("GET", get), ("POST", post)) if found
        }
        super().__init__(path, self._respond, methods=list(self.by_method), name=name)
        self.allowed = [*self.by_method, "HEAD"] if get else [*self.by_method]
        self.app = Guard(self._respond, kind)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """None: `web.router.Router` has looked at every row before it asks Starlette's routes."""
        return Match.NONE, {}

    def accepts(self, parameters: Mapping[str, str]) -> bool:
        """Whether there is such a URL. None of them contains NUL, which PostgreSQL cannot store."""
        if self.form and parameters["field"] not in self.form.model_fields:
            return False
        return not any("\0" in value for value in parameters.values())

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self.by_method["GET" if scope["method"] == "HEAD" else scope["method"]]
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


class Router(routing.Router):
    """Starlette's router, but a Row is found by one look-up, or among the few that
    have parameters.
    """

    def __init__(self, routes: Sequence[BaseRoute], lifespan: Any) -> None:
        # that redirect is built from the Host header
        super().__init__(redirect_slashes=False, lifespan=lifespan)
        self.set_routes(routes)

    def set_routes(self, routes: Sequence[BaseRoute]) -> None:
        """Replaces every route.

        One that is no Row, such as a Mount, is found the way Starlette finds it.
        """
        self.routes = list(routes)
        rows = [route for route in routes if isinstance(route, Row)]
        self._by_path = {row.path: row for row in rows if not row.param_convertors}
        self._with_parameters = [row for row in rows if row.param_convertors]

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:  # type: ignore[override]
        row = self._find(scope) if scope["type"] == "http" else None
        if row is None:
            return super().__call__(scope, receive, send)
        scope["route"] = row
        if scope["method"] not in row.allowed:
            raise HTTPException(405, headers={"Allow": ", ".join(row.allowed)})
        return row.app(scope, receive, send)

    def _find(self, scope: Scope) -> Row | None:
        path = scope["path"]
        row = self._by_path.get(path)
        if row is not None:
            scope["path_params"] = {}
            return row
        for row in self._with_parameters:
            match = row.path_regex.fullmatch(path)
            if match and row.accepts(match.groupdict()):
                scope["path_params"] = match.groupdict()
                return row
        return None
