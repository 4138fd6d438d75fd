"""Contains the page on which users confirm their identity before a sensitive change, and the
response to the form that waits for it.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Message as AsgiMessage
from starlette.types import Receive, Scope, Send

from db.access import confirmation
from db.crypto.secret import Secret
from db.errors import RateLimited, Refused, Unavailable
from db.factors.verification import GivenFactor
from db.messages import Message
from db.viewer import Viewer
from web.forms.form import FORM_TYPE, Form, read_fields
from web.forms.schemas import PasswordConfirmation
from web.http.redirects import carried_page, safe_page
from web.http.session import verify_session
from web.http.sudo import (
    find_action,
    find_action_of_page,
    find_confirmation,
    find_draft,
    get_sid_hash,
    set_confirmation,
)
from web.rendering.confirmation_page import blank_form, confirmation_page
from web.rendering.flash_messages import set_flash
from web.rendering.form_errors import (
    BUSY,
    WRONG_CODE,
    WRONG_PASSWORD,
    WRONG_RECOVERY_CODE,
    apply_error,
)
from web.rendering.responses import headers_without_page, redirect_across_login
from web.state import request_state

WRONG_PASSKEY: Final = Message("This passkey didn't confirm that it's you. Try again.")
NO_CODE: Final = Message("Type a code or a recovery code.")
ERRORS: Final = {
    RateLimited: Message("Too many attempts. Nothing was changed. Try again in {wait}."),
    Unavailable: BUSY,
}
# What the state of the outer request keeps for the form that waits. The fields, the claims and the
# viewer are read again.
KEPT_STATE: Final = ("request_id", "language", "confirmed", "set_cookies")


class DraftResponse(Response):
    """The response to the form that has waited for the confirmation, sent inside the server."""

    def __init__(self, request: Request, path: str, query_string: str, body: bytes) -> None:
        state = request_state(request.scope)
        state.setdefault("set_cookies", {})
        headers = [
            *headers_without_page(request.scope),
            (b"content-type", FORM_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
        ]
        self._app = request.app.router
        self._body = body
        self._scope: Scope = {
            **request.scope,
            "method": "POST",
            "path": path,
            "query_string": query_string.encode("latin-1"),
            "headers": headers,
            # The dict of cookies is the same object, so the outer response sets them.
            "state": {name: state[name] for name in KEPT_STATE if name in state},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_read = False

        async def receive_body() -> AsgiMessage:
            nonlocal is_read
            if is_read:
                return await receive()
            is_read = True
            return {"type": "http.request", "body": self._body, "more_body": False}

        await self._app(self._scope, receive_body, send)


async def show(request: Request) -> Response:
    viewer = await verify_session(request, preload=confirmation.PRELOAD)
    next_page = carried_page(request, request.query_params.get("next"))
    if find_confirmation(request) is not None:
        return RedirectResponse(safe_page(request, next_page), 303)
    return await confirmation_page(
        request, viewer, action=find_action_of_page(request, next_page), next_page=next_page
    )


async def submit(request: Request) -> Response:
    """Confirms the identity of the user, and then sends the form that has waited for it."""
    viewer = await verify_session(request, preload=confirmation.PRELOAD)
    fields = await read_fields(request) or {}
    options = await confirmation.get_options(viewer)
    form, given = blank_form(options), GivenFactor.from_fields(fields)
    if not options.has_factor:
        form = Form.check(PasswordConfirmation, fields)
    elif given.is_empty:
        form.message = NO_CODE
    draft = find_draft(request, fields.get("draft", ""))
    status: tuple[int, int | None] = 422, None
    confirmed = None
    try:
        if not form.failed:
            confirmed = await confirmation.confirm(
                viewer,
                password=getattr(form.data, "password", Secret("")),
                factor=given,
                sid_hash=get_sid_hash(request),
                draft_claims=draft.token_claims if draft else None,
            )
            if confirmed is None:
                _add_error(form, given)
    except (RateLimited, Refused, Unavailable) as error:
        status = apply_error(request, form, error, ERRORS)
    if confirmed is None:
        return await _refuse(request, viewer, form, fields, *status)
    set_confirmation(request, confirmed.confirmation)
    if draft and confirmed.may_send_draft:
        body = urlencode(draft.fields).encode()
        return DraftResponse(request, draft.path, draft.query_string, body)
    if confirmed.codes_left is not None:
        set_flash(request, f"codes-left-{confirmed.codes_left}")
    return redirect_across_login(request, to=safe_page(request, fields.get("next")))


def _add_error(form: Form[Any], given: GivenFactor) -> None:
    """Adds the message about what was wrong. A wrong code is not displayed again."""
    if form.schema is PasswordConfirmation:
        form.add_error("password", WRONG_PASSWORD)
    elif given.code.reveal():
        form.add_error("code", WRONG_CODE)
    elif given.recovery_code.reveal():
        form.add_error("recovery_code", WRONG_RECOVERY_CODE)
    else:
        form.message = WRONG_PASSKEY
    form.values = {}


async def _refuse(
    request: Request,
    viewer: Viewer,
    form: Form[Any],
    fields: Mapping[str, str],
    status: int = 422,
    retry_after: int | None = None,
) -> Response:
    """Returns the page again, with the form that waits."""
    draft = find_draft(request, fields.get("draft", ""))
    next_page = carried_page(request, fields.get("next"))
    action = (
        find_action(request, draft.path, "POST")
        if draft
        else find_action_of_page(request, next_page)
    )
    return await confirmation_page(
        request,
        viewer,
        action=action,
        next_page=next_page,
        draft=Secret(fields["draft"]) if draft else None,
        form=form,
        status=status,
        retry_after=retry_after,
    )
