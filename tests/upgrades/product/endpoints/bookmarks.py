"""The page of the bookmarks, and the same list for programs."""

from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from web.http.session import verify_session
from web.rendering.responses import page, url_path

from ..access import bookmarks


async def show(request: Request) -> Response:
    viewer = await verify_session(request)
    found = await bookmarks.list_bookmarks(viewer)
    return page(
        request, "bookmarks/page.html", "Bookmarks", layout="app", me=viewer.me, bookmarks=found
    )


async def submit(request: Request) -> Response:
    viewer = await verify_session(request)
    fields = parse_qs((await request.body()).decode())
    await bookmarks.add_bookmark(viewer, fields["url"][0])
    return RedirectResponse(url_path(request, "bookmarks"), 303)


async def show_json(request: Request) -> Response:
    viewer = await verify_session(request)
    found = await bookmarks.list_bookmarks(viewer)
    return JSONResponse([bookmark.url for bookmark in found])
