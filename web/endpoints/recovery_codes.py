"""Contains the page that shows new recovery codes, and its form, which makes them count."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from db.access import recovery_codes
from db.access.recovery_codes import NewCodes
from db.errors import RateLimited, Refused, StateChanged, Unavailable
from db.messages import Message
from db.viewer import Viewer
from web.forms.form import Form, read_fields
from web.forms.schemas import RecoveryCodes
from web.http.sudo import verify_sudo
from web.rendering.factor_changes import NOT_SAVED, TOO_MANY, codes_context, redirect_after_change
from web.rendering.flash_messages import pop_flash
from web.rendering.form_errors import BUSY, apply_error
from web.rendering.responses import now, page, refused_form, url_path

TITLE: Final = Message("Recovery codes")
EXPIRED: Final = Message(
    "This page was open for too long, and its codes don't count. Save these new ones instead."
)
ERRORS: Final = {RateLimited: TOO_MANY, Unavailable: BUSY}


async def show(request: Request) -> Response:
    """Shows ten new codes. Without a second step there are none, so it redirects."""
    sudo = await verify_sudo(request)
    new = await recovery_codes.draw(sudo)
    if new is None:
        return RedirectResponse(url_path(request, "account-security"), 303)
    context = _context(request, sudo.viewer, new, Form.blank(RecoveryCodes))
    context["flash"] = pop_flash(request)
    return page(request, "recovery_codes/page.html", TITLE, layout="app", **context)


async def submit(request: Request) -> Response:
    """Stores the codes that the page showed. A refused form shows the same codes again."""
    sudo = await verify_sudo(request)
    form = Form.check(RecoveryCodes, await read_fields(request))
    status: tuple[int, int | None] = 422, None
    data = form.data
    try:
        if data is not None:
            done = await recovery_codes.renew(
                sudo, enrollment=data.enrolment, is_saved=data.saved == "on"
            )
            match done:
                case "expired":
                    form.message = EXPIRED
                    form.values = {}
                case "not saved":
                    form.add_error("saved", NOT_SAVED)
                case _:
                    return redirect_after_change(request, "codes-renewed", done)
    except (RateLimited, Refused, Unavailable) as error:
        status = apply_error(request, form, error, ERRORS)
    new = await recovery_codes.draw(sudo, enrollment=form.values.get("enrolment", ""))
    if new is None:
        raise StateChanged
    return refused_form(
        request,
        "recovery_codes/page.html",
        TITLE,
        form_id="codes-form",
        fragment="recovery_codes/form.html",
        status=status[0],
        retry_after=status[1],
        layout="app",
        **_context(request, sudo.viewer, new, form),
    )


def _context(
    request: Request, viewer: Viewer, new: NewCodes, form: Form[RecoveryCodes]
) -> dict[str, Any]:
    return {
        "me": viewer.me,
        "flash": "",
        "form": form,
        "left": new.left,
        "enrolment": new.enrollment.reveal(),
        "now": now(request),
        **codes_context(request, new.email, [code.reveal() for code in new.codes]),
    }
