"""Runs Latchkey up to the layer LAYER, which returns SIZE constant bytes instead of the next layer.

The difference between two programs is the cost of the layers between them.
"""

import os
from typing import Final

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from db.access import security
from web.http.session import verify_session
from web.rendering.responses import HtmlResponse
from web.server.runner import make_app, server_options
from web.settings.settings import read_settings

LAYER: Final = os.environ["LAYER"]
BODY: Final = bytes(int(os.environ["SIZE"]))


async def constant_app(scope: Scope, receive: Receive, send: Send) -> None:
    await HtmlResponse(BODY)(scope, receive, send)


async def constant(request: Request) -> Response:
    return HtmlResponse(BODY)


async def session(request: Request) -> Response:
    await verify_session(request)
    return HtmlResponse(BODY)


async def profile(request: Request) -> Response:
    await security.get_state(await verify_session(request, preload=security.PRELOAD))
    return HtmlResponse(BODY)


ENDPOINTS: Final = {"routing": constant, "cookie": constant, "session": session, "profile": profile}


def make_partial_app():
    """Returns the application that ends after LAYER."""
    app = make_app(read_settings(os.environ))
    if LAYER == "server":
        return WithLifespan(app, constant_app)
    if LAYER == "middleware":
        app.router = WithLifespan(app.router, constant_app)
    if LAYER in ENDPOINTS:
        name = "healthz" if LAYER == "routing" else "dashboard"
        route = next(route for route in app.routes if route.name == name)
        route.endpoints = {"GET": ENDPOINTS[LAYER]}
    return app


class WithLifespan:
    """Sends requests to `http` and lifespan events to `app`."""

    def __init__(self, app, http) -> None:
        self.app, self.http = app, http

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.http if scope["type"] == "http" else self.app)(scope, receive, send)


if __name__ == "__main__":
    options = server_options(read_settings(os.environ))
    uvicorn.Server(uvicorn.Config(make_partial_app, **options)).run()
