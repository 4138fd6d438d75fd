"""Contains the page of the authenticator app, its set-up and its removal."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from db.access import authenticator
from db.access.security import must_keep_factor
from db.errors import RateLimited, Refused, Unavailable
from db.messages import Message
from db.sessions.sudo import Sudo
from db.viewer import Viewer
from web.forms.form import Form, read_fields
from web.forms.schemas import AuthenticatorSetUp
from web.http.sudo import verify_sudo
from web.rendering.factor_changes import NOT_SAVED, TOO_MANY, codes_context, redirect_after_change
from web.rendering.flash_messages import pop_flash
from web.rendering.form_errors import BUSY, apply_error
from web.rendering.qr_code import draw_qr_code
from web.rendering.responses import now, page, refused_form
from web.state import app_state

TITLE: Final = Message("Authenticator app")
WRONG_CODE: Final = Message("This code is wrong. Type the one that your app shows now.")
EXPIRED: Final = Message(
    "This page was open for too long. Remove the entry from your app, and scan the new QR code."
)
ERRORS: Final = {RateLimited: TOO_MANY, Unavailable: BUSY}
KEY_GROUP_CHARS: Final = 4


async def show(request: Request) -> Response:
    sudo = await verify_sudo(request)
    context = await _context(request, sudo, Form.blank(AuthenticatorSetUp))
    context["flash"] = pop_flash(request)
    return page(request, "authenticator/page.html", TITLE, layout="app", **context)


async def submit(request: Request) -> Response:
    """Stores the app that the page showed, if the code proves that it works.

    A refused form shows the same QR code again, because the user has scanned it.
    """
    sudo = await verify_sudo(request)
    form = Form.check(AuthenticatorSetUp, await read_fields(request))
    status: tuple[int, int | None] = 422, None
    data = form.data
    try:
        if data is not None:
            done = await authenticator.set_up(
                sudo, code=data.code, enrollment=data.enrolment, is_saved=data.saved == "on"
            )
            match done:
                case "expired":
                    form.message = EXPIRED
                    form.values = {}
                case "not saved":
                    form.add_error("saved", NOT_SAVED)
                case "wrong code":
                    form.add_error("code", WRONG_CODE)
                case _:
                    return redirect_after_change(request, "authenticator-added", done)
    except (RateLimited, Refused, Unavailable) as error:
        status = apply_error(request, form, error, ERRORS)
    return refused_form(
        request,
        "authenticator/page.html",
        TITLE,
        form_id="totp-form",
        fragment="authenticator/form.html",
        status=status[0],
        retry_after=status[1],
        layout="app",
        **await _context(request, sudo, form),
    )


async def remove(request: Request) -> Response:
    sudo = await verify_sudo(request)
    await read_fields(request)
    done = await authenticator.remove(sudo)
    return redirect_after_change(request, "authenticator-removed", done)


async def _context(
    request: Request, sudo: Sudo[Viewer], form: Form[AuthenticatorSetUp]
) -> dict[str, Any]:
    """Returns the context of the page. A form with an enrollment shows its QR code again."""
    site_name = app_state(request.scope).product.brand.name
    new = await authenticator.begin(sudo, site_name, enrollment=form.values.get("enrolment", ""))
    form.values = {**form.values, "code": ""}  # A code is not shown again.
    return {
        "me": sudo.viewer.me,
        "now": now(request),
        "flash": "",
        "form": form,
        "must_keep_factor": await must_keep_factor(sudo.viewer),
        "created_at": new.state.created_at,
        "last_used_at": new.state.last_used_at,
        "enrolment": new.enrollment.reveal(),
        "key": _group(new.key.reveal()),
        "uri": new.uri.reveal(),
        "qr_code": await draw_qr_code(new.uri),
        **codes_context(request, new.state.email, [code.reveal() for code in new.codes]),
    }


def _group(key: str) -> str:
    """Returns the key in groups of four characters, because users type it."""
    starts = range(0, len(key), KEY_GROUP_CHARS)
    return " ".join(key[start : start + KEY_GROUP_CHARS] for start in starts)
