"""Contains the download of everything that is stored about the viewer's account."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from db.access import account, data_export
from db.errors import RateLimited, Refused, Unavailable
from db.messages import Message
from db.viewer import Viewer
from web.forms.form import Form, read_fields
from web.forms.schemas import DataDownload
from web.http.sudo import verify_sudo
from web.rendering.form_errors import BUSY, apply_error
from web.rendering.responses import download, page, refused_form

TITLE: Final = Message("Your data")
DATA_ERRORS: Final = {
    RateLimited: Message("Too many downloads. Try again in {wait}."),
    Unavailable: BUSY,
}


async def show(request: Request) -> Response:
    sudo = await verify_sudo(request)
    context = await _context(sudo.viewer, Form.blank(DataDownload))
    return page(request, "account_data/page.html", TITLE, layout="app", **context)


async def submit(request: Request) -> Response:
    """Returns the file. It is a POST, because it writes an audit entry."""
    sudo = await verify_sudo(request)
    form = Form.check(DataDownload, await read_fields(request))
    if form.data is None:
        return await _respond_with_errors(request, sudo.viewer, form)
    try:
        data = await data_export.download_own(sudo)
    except (RateLimited, Refused, Unavailable) as error:
        answer = apply_error(request, form, error, DATA_ERRORS)
        return await _respond_with_errors(request, sudo.viewer, form, *answer)
    return download(data, f"{sudo.viewer.slug}-data.json")


async def _context(viewer: Viewer, form: Form[DataDownload]) -> dict[str, Any]:
    saved = await account.get_account(viewer)
    return {"me": viewer.me, "form": form, "email": saved.email, "delete_at": saved.delete_at}


async def _respond_with_errors(
    request: Request,
    viewer: Viewer,
    form: Form[DataDownload],
    status: int = 422,
    retry_after: int | None = None,
) -> Response:
    return refused_form(
        request,
        "account_data/page.html",
        TITLE,
        form_id="data-form",
        fragment="account_data/form.html",
        status=status,
        retry_after=retry_after,
        layout="app",
        **await _context(viewer, form),
    )
