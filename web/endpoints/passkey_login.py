"""Contains the endpoints that log users in with a passkey."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from db.access import passkey_login
from db.errors import RateLimited, Refused, Unavailable
from db.messages import Message
from web.forms.form import Form, read_fields
from web.forms.schemas import PasskeyAnswer
from web.http.client_info import get_client_info
from web.http.redirects import carried_page, safe_page
from web.http.remember import read_choice
from web.rendering.form_errors import BUSY, apply_error
from web.rendering.passkey_forms import UNKNOWN_PASSKEY, make_login_form
from web.rendering.responses import page, redirect_across_login, refused_form
from web.state import app_state

TITLE: Final = Message("Log in with a passkey")
ERRORS: Final = {
    RateLimited: Message("Too many attempts to log in. Log-in is paused. Try again in {wait}."),
    Unavailable: BUSY,
}


async def show(request: Request) -> Response:
    """Returns the form with a new challenge.

    A log-in page that stays open takes it from here, because a challenge expires.
    """
    target = carried_page(request, request.query_params.get("next"))
    ceremony = await passkey_login.begin_log_in(app_state(request.scope).store)
    passkey = make_login_form(request, ceremony, next_page=target, is_primary=True)
    return page(request, "passkeys/log_in.html", TITLE, passkey=passkey)


async def submit(request: Request) -> Response:
    """Logs the user of the passkey in.

    The response is the same for an unknown passkey, a wrong signature and a disabled account.
    """
    fields = await read_fields(request)
    form = Form.check(PasskeyAnswer, fields)
    target = carried_page(request, form.values.get("next"))
    store = app_state(request.scope).store
    status: tuple[int, int | None] = 422, None
    session, unknown = None, ""
    try:
        if form.data:
            session = await passkey_login.log_in(
                store,
                credential=form.data.credential,
                challenge=form.data.challenge,
                client=get_client_info(request),
                is_remembered=bool(read_choice(request, fields)),
            )
            if session is None:
                form.message = UNKNOWN_PASSKEY
                unknown = await passkey_login.find_unknown_credential(store, form.data.credential)
    except (RateLimited, Refused, Unavailable) as error:
        status = apply_error(request, form, error, ERRORS)
    if session is not None:
        return redirect_across_login(request, to=safe_page(request, target), session=session)
    ceremony = await passkey_login.begin_log_in(store)
    return refused_form(
        request,
        "passkeys/log_in.html",
        TITLE,
        form_id="passkey-form",
        fragment="passkeys/assertion_form.html",
        status=status[0],
        retry_after=status[1],
        passkey=make_login_form(
            request, ceremony, next_page=target, message=form.message, unknown=unknown
        ),
    )
