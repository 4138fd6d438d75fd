"""Sign up: the form, the live check of one field, and the submit."""

from starlette.requests import Request
from starlette.responses import Response

from db.access import signup
from db.refusals import Breached, Busy, NotCreated, TooMany
from web.closed_doors import say
from web.device import describe_device
from web.forms import Form, read_fields
from web.respond import constant, field, leave, path_of, refused
from web.schemas import SignUp

TITLE = "Create your account"
TAKEN = "An account with this email already exists."
UNCHECKED = "We’ll check this when you send the form."
CLOSED = {
    TooMany: "Too many sign-ups from your network. Nothing is lost: try again in {wait}.",
    Busy: "Too many people are signing up right now. Nothing is lost: try again in a few seconds.",
    NotCreated: "An error occurred while creating your account.",
}


async def show(request: Request) -> Response:
    form = Form.blank(SignUp, request.app.state.policy)
    return constant(request, "signup/page.html", TITLE, panel="blank", form=form)


async def check(request: Request) -> Response:
    """One field, by the validator that the submit runs; the address also by one indexed query."""
    name = request.path_params["field"]
    form = Form.check_field(SignUp, name, await read_fields(request), request.app.state.policy)
    if name == "email" and form.data and not request.app.state.settings.private:
        await _look_up(request, form, form.data.email)
    return field(request, "signup/field.html", form=form, name=name)


async def submit(request: Request) -> Response:
    form = Form.check(SignUp, await read_fields(request), request.app.state.policy)
    if form.data is None:
        return _refused(request, form)
    try:
        return await _create(request, form, form.data)
    except (TooMany, Breached, Busy, NotCreated) as refusal:
        return _refused(request, form, *say(request, form, refusal, CLOSED))


async def _look_up(request: Request, form: Form[SignUp], email: str) -> None:
    """Whether the address is free; nothing about that to somebody who asks for many."""
    taken = await signup.email_taken(request.app.state.store, email, describe_device(request))
    if taken:
        form.add_error("email", TAKEN)
    elif taken is None:
        form.notes["email"] = UNCHECKED


async def _create(request: Request, form: Form[SignUp], data: SignUp) -> Response:
    """The account; where sign-up is private, the same answer whether there is a new one or not."""
    sign_up = signup.sign_up_privately if request.app.state.settings.private else signup.sign_up
    session = await sign_up(
        request.app.state.store,
        name=data.name,
        email=data.email,
        password=data.password,
        device=describe_device(request),
    )
    if request.app.state.settings.private:
        return leave(request, to=f"{path_of(request, 'login')}?new=1")
    if session is None:
        form.add_error("email", TAKEN)
        return _refused(request, form)
    return leave(request, to=path_of(request, "dashboard"), session=session)


def _refused(request: Request, form: Form[SignUp], status: int = 422, retry_after: int | None = None) -> Response:
    form.notes["email"] = UNCHECKED  # nobody has looked whether it is taken, so it is not told to look good
    return refused(
        request,
        "signup/page.html",
        TITLE,
        form_id="signup-form",
        fragment="signup/form.html",
        status=status,
        retry_after=retry_after,
        panel="blank",
        form=form,
    )
