"""The endpoints of the bookmarks: the list, its forms, and the JSON API."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from db.errors import RateLimited, Unavailable
from db.viewer import Viewer
from tests.example_product.access import bookmarks
from tests.example_product.forms import BookmarkForm
from web.forms.form import Form, read_fields
from web.http.session import verify_session
from web.rendering.flash_messages import confirm, pop_flash
from web.rendering.form_errors import apply_error
from web.rendering.formatting import iso
from web.rendering.responses import changed_fragment, field_fragment, page, refused_form

TITLE: Final = "Bookmarks"
PAGE: Final = "bookmarks/page.html"
LIST: Final = "bookmarks/list.html"  # the part of the page that every form replaces
ALREADY_SAVED: Final = "You already have a bookmark with this URL."
ERRORS: Final = {
    RateLimited: "Too many changes in a short time. Try again in {wait}.",
    Unavailable: "We couldn't save your bookmark just now. Try again in a few seconds.",
}


async def show(request: Request) -> Response:
    """Returns the list, with a form for a new bookmark."""
    viewer = await verify_session(request)
    context = await _context(viewer, Form.blank(BookmarkForm))
    return page(request, PAGE, TITLE, layout="app", flash=pop_flash(request), **context)


async def edit(request: Request) -> Response:
    """Returns the list, with a form for one of its bookmarks."""
    viewer = await verify_session(request)
    saved = await bookmarks.get_bookmark(viewer, request.path_params["id"])
    form = Form.blank(BookmarkForm, url=saved.url, title=saved.title)
    context = await _context(viewer, form, editing=saved.id)
    return page(request, PAGE, TITLE, layout="app", flash="", **context)


async def check(request: Request) -> Response:
    """Returns one validated field, while the user types. Looks up whether the URL is saved."""
    viewer = await verify_session(request)
    name, editing = request.path_params["field"], request.path_params.get("id", "")
    form = Form.check_field(BookmarkForm, name, await read_fields(request))
    url = form.data.url if name == "url" and form.data else ""
    if url and await bookmarks.is_saved(viewer, url, except_id=editing):
        form.add_error("url", ALREADY_SAVED)
    return field_fragment(request, "bookmarks/field.html", form=form, name=name, editing=editing)


async def add(request: Request) -> Response:
    viewer = await verify_session(request)
    form = Form.check(BookmarkForm, await read_fields(request))
    try:
        if form.data and not await bookmarks.add_bookmark(viewer, **form.data.model_dump()):
            form.add_error("url", ALREADY_SAVED)
    except (RateLimited, Unavailable) as error:
        return await _refuse(request, viewer, form, *apply_error(request, form, error, ERRORS))
    if form.data is None:
        return await _refuse(request, viewer, form)
    return await _show_change(request, viewer, "bookmark-added")


async def change(request: Request) -> Response:
    viewer = await verify_session(request)
    bookmark_id = request.path_params["id"]
    form = Form.check(BookmarkForm, await read_fields(request))
    try:
        if form.data and not await bookmarks.change_bookmark(
            viewer, bookmark_id, **form.data.model_dump()
        ):
            form.add_error("url", ALREADY_SAVED)
    except (RateLimited, Unavailable) as error:
        failure = apply_error(request, form, error, ERRORS)
        return await _refuse(request, viewer, form, *failure, editing=bookmark_id)
    if form.data is None:
        return await _refuse(request, viewer, form, editing=bookmark_id)
    return await _show_change(request, viewer, "bookmark-changed")


async def delete(request: Request) -> Response:
    viewer = await verify_session(request)
    await bookmarks.delete_bookmark(viewer, request.path_params["id"])
    return await _show_change(request, viewer, "bookmark-deleted")


async def list_as_json(request: Request) -> Response:
    viewer = await verify_session(request)
    found = [
        {
            "id": bookmark.id,
            "url": bookmark.url,
            "title": bookmark.title,
            "created_at": iso(bookmark.created_at),
        }
        for bookmark in await bookmarks.list_bookmarks(viewer)
    ]
    return JSONResponse({"bookmarks": found})


async def _show_change(request: Request, viewer: Viewer, message: str) -> Response:
    """Returns the new list to htmx. A plain form is redirected to the page of the list."""
    context = await _context(viewer, Form.blank(BookmarkForm))
    toast = confirm(request, message)
    return changed_fragment(
        request, TITLE, to="bookmarks", fragment=LIST, replaces_url=True, toast=toast, **context
    )


async def _refuse(
    request: Request,
    viewer: Viewer,
    form: Form[BookmarkForm],
    status: int = 422,
    retry_after: int | None = None,
    *,
    editing: str = "",
) -> Response:
    """Returns the form with its errors and everything that was typed."""
    if editing:
        await bookmarks.get_bookmark(viewer, editing)
    return refused_form(
        request,
        PAGE,
        TITLE,
        form_id="bookmarks",
        fragment=LIST,
        status=status,
        retry_after=retry_after,
        layout="app",
        flash="",
        **await _context(viewer, form, editing=editing),
    )


async def _context(
    viewer: Viewer, form: Form[BookmarkForm], *, editing: str = ""
) -> dict[str, Any]:
    """Returns the values for the list. `editing` is the id of the bookmark with a form."""
    return {
        "me": viewer.me,
        "bookmarks": await bookmarks.list_bookmarks(viewer),
        "form": form,
        "editing": editing,
    }
