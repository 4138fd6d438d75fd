"""Sign up: the form, the live check of one field, and the submit."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from db.access import signup
from db.refusals import Busy, NotCreated
from web.device import describe_device
from web.forms import Form, read_fields
from web.logs import log_busy, log_failure
from web.respond import constant, field, leave, path_of, refused
from web.schemas import SignUp

TITLE = "Create your account"
TAKEN = "An account with this email already exists."
NOT_CREATED = "An error occurred while creating your account."
BUSY = "Too many people are signing up at this moment. Nothing is lost: try again in a few seconds."


async def show(request: Request) -> Response:
    form = Form.blank(SignUp, request.app.state.policy)
    return constant(request, "signup/page.html", TITLE, panel="blank", form=form)


async def check(request: Request) -> Response:
    """One field, by the validator that the submit runs; the address also by one indexed query."""
    name = request.path_params["field"]
    if name not in SignUp.model_fields:
        raise HTTPException(404)
    form = Form.check_field(SignUp, name, await read_fields(request), request.app.state.policy)
    if name == "email" and form.data and await signup.email_taken(request.app.state.store, form.data.email):
        form.add_error("email", TAKEN)
    return field(request, "signup/field.html", form=form, name=name)


async def submit(request: Request) -> Response:
    form = Form.check(SignUp, await read_fields(request), request.app.state.policy)
    if form.data is None:
        return _refused(request, form)
    try:
        session = await signup.sign_up(
            request.app.state.store,
            name=form.data.name,
            email=form.data.email,
            password=form.data.password,
            device=describe_device(request),
        )
    except NotCreated as error:
        log_failure(request, error)
        form.message = NOT_CREATED
        return _refused(request, form, status=500)
    except Busy as busy:
        log_busy(request, busy)
        form.message = BUSY
        return _refused(request, form, status=503, retry_after=busy.retry_after)
    if session is None:
        form.add_error("email", TAKEN)
        return _refused(request, form)
    return leave(request, to=path_of(request, "dashboard"), session=session)


def _refused(request: Request, form: Form[SignUp], status: int = 422, retry_after: int | None = None) -> Response:
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
