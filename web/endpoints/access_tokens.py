"""Contains the endpoints of the viewer's access tokens: the list, the creation and the deletion."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from db.access import access_tokens
from db.errors import RateLimited, Refused, TooManyTokens, Unavailable
from db.messages import Message
from db.viewer import Viewer
from web.forms.fields import TOKEN_DAYS
from web.forms.form import Form, read_fields
from web.forms.schemas import NewAccessToken
from web.http.session import verify_session
from web.http.sudo import verify_sudo
from web.rendering.flash_messages import confirm, pop_flash
from web.rendering.form_errors import BUSY, apply_error
from web.rendering.responses import changed_fragment, now, page, refused_form, replaced_fragment

TITLE: Final = Message("Access tokens")
NO_SCOPE: Final = Message("Choose what the token may do.")
TOO_MANY: Final = Message("You have too many access tokens. Delete one first.")
DEFAULT_DAYS: Final = "90"
ERRORS: Final = {
    RateLimited: Message("Too many attempts. No access token was created. Try again in {wait}."),
    Unavailable: BUSY,
}


async def show(request: Request) -> Response:
    viewer = await verify_session(request)
    context = await _context(request, viewer) | {"flash": pop_flash(request)}
    return page(request, "tokens/page.html", TITLE, layout="app", **context)


async def create(request: Request) -> Response:
    """Creates a token and shows it in the response, and nowhere else.

    The response to a plain form is a page and no redirect, because neither a URL nor a cookie may
    contain the token.
    """
    sudo = await verify_sudo(request)
    viewer = sudo.viewer
    fields = await read_fields(request) or {}
    form = Form.check(NewAccessToken, fields)
    # Each scope is a field of its own, since only the first of repeated values counts.
    scopes = [name for name in access_tokens.list_scopes(viewer) if fields.get(f"scope-{name}")]
    if not scopes:
        form.message = NO_SCOPE
    status: tuple[int, int | None] = 422, None
    token = None
    try:
        if form.data and scopes:
            data = form.data
            token = await access_tokens.create_token(
                sudo, name=data.name, scopes=scopes, days=data.days
            )
    except TooManyTokens:
        form.message = TOO_MANY
    except (RateLimited, Refused, Unavailable) as error:
        status = apply_error(request, form, error, ERRORS)
    if token is None:
        context = await _context(request, viewer) | {"form": form, "chosen": scopes}
        context["scopes_error"] = "" if scopes else NO_SCOPE
        return refused_form(
            request,
            "tokens/page.html",
            TITLE,
            form_id="tokens",
            fragment="tokens/content.html",
            status=status[0],
            retry_after=status[1],
            layout="app",
            **context,
        )
    context = await _context(request, viewer) | {"new_token": token.reveal()}
    fragment = "tokens/content.html"
    return replaced_fragment(
        request, "tokens/page.html", TITLE, fragment=fragment, layout="app", **context
    )


async def revoke(request: Request) -> Response:
    viewer = await verify_session(request)
    await access_tokens.revoke_token(viewer, str(request.path_params["id"]))
    return changed_fragment(
        request,
        TITLE,
        to="tokens",
        fragment="tokens/list.html",
        toast=confirm(request, "token-deleted"),
        **await _context(request, viewer),
    )


async def _context(request: Request, viewer: Viewer) -> dict[str, Any]:
    return {
        "me": viewer.me,
        "now": now(request),
        "flash": "",
        "tokens": await access_tokens.list_tokens(viewer),
        "scopes": access_tokens.list_scopes(viewer),
        "chosen": [],
        "scopes_error": "",
        "days": TOKEN_DAYS,
        "form": Form.blank(NewAccessToken, days=DEFAULT_DAYS),
        "new_token": "",
    }
