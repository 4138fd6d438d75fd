"""The router: a dictionary for the paths without parameters, then the rows that have some, then Starlette's own way."""

from collections.abc import Awaitable, Sequence
from typing import Any

from starlette import routing
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from web.routes import Row


class Router(routing.Router):
    """Starlette's router, but a Row is found by one look-up, or among the few that have parameters."""

    def __init__(self, routes: Sequence[BaseRoute], lifespan: Any) -> None:
        super().__init__(redirect_slashes=False, lifespan=lifespan)  # that redirect is built from the Host header
        self.set_routes(routes)

    def set_routes(self, routes: Sequence[BaseRoute]) -> None:
        """Replaces every route. One that is no Row, such as a Mount, is found the way Starlette finds it."""
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
