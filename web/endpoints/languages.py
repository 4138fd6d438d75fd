"""Contains the endpoints that choose the language, of a user and of a browser."""

from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from db.access import account
from db.messages import Message
from web.forms.form import read_fields
from web.http.language import keep_language, read_browser_language
from web.http.redirects import page_of_form
from web.http.session import verify_session
from web.rendering.flash_messages import set_flash
from web.rendering.responses import redirect_across_login, url_path
from web.state import app_state

UNKNOWN: Final = Message("Choose one of the languages in the list.")


async def choose(request: Request) -> Response:
    """Stores the language of the browser in a cookie, and returns to the page with the form."""
    keep_language(request.scope, await _read_code(request))
    return RedirectResponse(page_of_form(request), 303)


async def save(request: Request) -> Response:
    """Stores the language of the viewer. The whole page is then loaded in the new language.

    A log-in at another browser sets the cookie there.
    """
    viewer = await verify_session(request)
    code = await _read_code(request, "")
    await account.change_language(viewer, code, read_browser_language(request.scope))
    keep_language(request.scope, code)
    set_flash(request, "language-saved")
    return redirect_across_login(request, to=url_path(request, "account"))


async def _read_code(request: Request, *others: str) -> str:
    """Returns the field `language`. Raises HTTPException unless it is a known code or of others."""
    code = str((await read_fields(request) or {}).get("language", ""))
    if code not in (*app_state(request.scope).languages, *others):
        raise HTTPException(422, UNKNOWN)
    return code
