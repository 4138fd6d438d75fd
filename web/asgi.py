"""Contains Latchkey as a part of another ASGI application, such as one of FastAPI.

    latchkey_app = create_mounted_app()
    app = FastAPI(lifespan=latchkey_app.lifespan)
    app.mount("/accounts", latchkey_app)

The path of the mount must be BASE_PATH. docs/mounting.md says what the parent has to do.
"""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from db.errors import NotLoggedIn, Unavailable
from db.maintenance.schema import require_schema_if_reachable
from db.viewer import Me
from web.app import App, create_app, run_tasks
from web.http.session import load_viewer
from web.middleware.base_path import own_scope
from web.middleware.cross_origin import ForeignOrigin, require_own_origin
from web.observability.logs import log_notice, logging_of_package
from web.product import load_chosen_product
from web.server.dependency_check import find_unsafe
from web.settings.server_settings import read_server_settings
from web.settings.settings import read_settings
from web.state import request_state


class MountedApp:
    """Latchkey as an ASGI application that a parent application mounts.

    Its lifespan must run inside the lifespan of the parent, because Starlette and FastAPI do not
    run the lifespan of an application that they mount.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._is_running = False

    @property
    def base_path(self) -> str:
        """Returns BASE_PATH, such as `/accounts`, or an empty string."""
        return self._app.state.settings.base_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._require_lifespan()
        await self._app(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, parent: object = None) -> AsyncIterator[None]:
        """Opens the database, prunes and delivers mail in the background until the block ends.

        Raises WrongSchema if the database has not been migrated. If the database is unavailable,
        requests get 503 until it can be opened.
        """
        state = self._app.state
        with logging_of_package(as_json=state.settings.json_logs):
            for notice in state.settings.notices:
                log_notice(notice)
            await require_schema_if_reachable(state.settings.database_url)
            async with run_tasks(state):
                self._is_running = True
                try:
                    yield
                finally:
                    self._is_running = False

    async def find_me(self, request: HTTPConnection, response: Response | None = None) -> Me | None:
        """Returns the user of a request to the parent, read from the database, or None.

        Returns None too for an unsafe request or a WebSocket from a page of another site (CSRF).
        With `response`, renews the session in its second half and adds the new cookie to the
        response. Raises HTTPException with status 503 if the database does not answer.
        """
        self._require_lifespan()
        scope = own_scope(request.scope, request.scope["path"])
        scope["app"] = self._app
        if scope["type"] == "websocket":
            # Browsers open WebSockets of other sites with cookies, so the origin is checked.
            scope.update(type="http", method="POST")
        try:
            require_own_origin(scope, self._app.state.settings.base_url)
            viewer = await load_viewer(Request(scope), may_write=response is not None)
        except (NotLoggedIn, ForeignOrigin):
            return None
        except Unavailable as error:
            raise HTTPException(503, headers={"Retry-After": str(error.retry_after)}) from error
        if response is not None:
            for cookie in request_state(scope).get("set_cookies", {}).values():
                response.headers.append("set-cookie", cookie.decode("latin-1"))
        return viewer.me

    def _require_lifespan(self) -> None:
        if not self._is_running:
            raise RuntimeError(
                "the lifespan of Latchkey is not running: see docs/mounting.md for the lifespan of "
                "the parent application"
            )


def create_mounted_app(environ: Mapping[str, str] = os.environ) -> MountedApp:
    """Returns the application with the settings of the environment.

    Raises InvalidSetting, and RuntimeError for a dependency with a known vulnerability.
    """
    if unsafe := find_unsafe():
        raise RuntimeError(unsafe)
    settings = read_settings(environ)
    metrics_token = read_server_settings(environ).metrics_token
    product = load_chosen_product(settings)
    return MountedApp(create_app(settings, metrics_token=metrics_token, product=product))
