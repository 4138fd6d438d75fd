"""Runs the baseline: uvicorn with one Starlette route, which returns zero bytes of a given size.

It is the smallest application on the same libraries. The path contains the size in bytes.
"""

import os

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route


async def constant(request: Request) -> HTMLResponse:
    return HTMLResponse(bytes(request.path_params["size"]))


app = Starlette(routes=[Route("/{size:int}", constant, methods=["GET", "POST"])])
uvicorn.run(
    app, port=int(os.environ["PORT"]), access_log=False, log_level="warning", server_header=False
)
