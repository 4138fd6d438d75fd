"""Contains the endpoints of organizations with an identity provider of their own, for
administrators.
"""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from db.access import organizations, roles
from db.errors import (
    DnsUnavailable,
    ProviderUnavailable,
    RateLimited,
    Refused,
    TooManyOrganizations,
    Unavailable,
    UnknownRole,
)
from db.messages import Message
from db.organizations.changes import OrganizationDetails
from db.organizations.lookup import OrganizationData
from db.viewer import Admin
from web.forms.form import Form, read_fields
from web.forms.organization_fields import NO_SECRET
from web.forms.schemas import NewOrganization, OrganizationChange
from web.http.session import verify_admin
from web.http.sudo import verify_sudo_admin
from web.rendering.flash_messages import confirm, pop_flash
from web.rendering.form_errors import UNKNOWN_ROLE, apply_error
from web.rendering.responses import changed_fragment, now, page, refused_form
from web.state import app_state

TITLE: Final = Message("Log-in for organizations")
DOMAIN_TAKEN: Final = Message("There is already an organization with this domain.")
TOO_MANY: Final = Message("There are too many organizations. Remove one first.")
NO_RECORD: Final = Message(
    "We didn't find the record yet. After a change of DNS, that can take an hour."
)
NO_DNS: Final = Message("We couldn't look the record up just now. Try again in a minute.")
ERRORS: Final = {
    RateLimited: Message(
        "Too many changes in a short time. Nothing was changed. Try again in {wait}."
    ),
    Unavailable: Message("We couldn't save the organization just now. Try again in a few seconds."),
}
NO_PROVIDER: Final = Message("There is no OpenID Connect provider at this address.")
# What is wrong with an issuer, by the code of ProviderUnavailable.
PROBLEMS: Final[Mapping[str, Message]] = {
    "unreachable": Message("We couldn't connect to this address. Check it for typing errors."),
    "timeout": Message("There is no answer from this address."),
    "metadata_issuer": Message(
        "The provider has another issuer than this. Copy the issuer from its settings."
    ),
    "private_issuer": Message(
        "This address is in a private network. Ask the operator to set up this provider."
    ),
    "status_404": NO_PROVIDER,
    "no_json": NO_PROVIDER,
    "no_object": NO_PROVIDER,
}
OTHER_PROBLEM: Final = Message("This provider can't be used. The reason is: {code}")


async def show(request: Request) -> Response:
    viewer = await verify_admin(request)
    context = await _list_context(request, viewer) | {"flash": pop_flash(request)}
    return page(request, "organizations/page.html", TITLE, layout="app", **context)


async def create(request: Request) -> Response:
    sudo = await verify_sudo_admin(request)
    form = Form.check(NewOrganization, await read_fields(request))
    status: tuple[int, int | None] = 422, None
    try:
        if form.data and not await organizations.create(
            sudo, form.data.domain, _read_data(form.data)
        ):
            form.add_error("domain", DOMAIN_TAKEN)
    except TooManyOrganizations:
        form.message = TOO_MANY
    except (ProviderUnavailable, UnknownRole) as error:
        _add_problem(form, error)
    except (RateLimited, Refused, Unavailable) as error:
        status = apply_error(request, form, error, ERRORS)
    context = await _list_context(request, sudo.viewer)
    if form.failed:
        return refused_form(
            request,
            "organizations/page.html",
            TITLE,
            form_id="organizations",
            fragment="organizations/list.html",
            status=status[0],
            retry_after=status[1],
            layout="app",
            **context | {"form": form},
        )
    return _respond_with_list(request, "organization-added", context)


async def show_organization(request: Request) -> Response:
    viewer = await verify_admin(request)
    context = await _context(request, viewer)
    title = context["organization"].label
    return page(request, "organizations/organization.html", title, layout="app", **context)


async def change(request: Request) -> Response:
    sudo = await verify_sudo_admin(request)
    details = await organizations.get_details(sudo.viewer, _domain(request))
    form = Form.check(OrganizationChange, await read_fields(request))
    status: tuple[int, int | None] = 422, None
    must_verify = False
    if form.data and form.data.issuer != details.issuer and form.data.client_secret is None:
        form.add_error("client_secret", NO_SECRET)
    try:
        if form.data:
            must_verify = await organizations.change(sudo, details.domain, _read_data(form.data))
    except (ProviderUnavailable, UnknownRole) as error:
        _add_problem(form, error)
    except (RateLimited, Refused, Unavailable) as error:
        status = apply_error(request, form, error, ERRORS)
    if form.failed:
        context = await _context(request, sudo.viewer) | {"form": form}
        return _refuse(request, *status, context)
    flash = "organization-unverified" if must_verify else "organization-saved"
    return await _respond_with_organization(request, sudo.viewer, flash)


async def verify(request: Request) -> Response:
    """Looks up the DNS record of the domain."""
    sudo = await verify_sudo_admin(request)
    await read_fields(request)
    problem = ""
    try:
        if not await organizations.verify(sudo, _domain(request)):
            problem = NO_RECORD
    except DnsUnavailable:
        problem = NO_DNS
    if problem:
        context = await _context(request, sudo.viewer) | {"record_problem": problem}
        return _refuse(request, 422, None, context)
    return await _respond_with_organization(request, sudo.viewer, "organization-verified")


async def remove(request: Request) -> Response:
    sudo = await verify_sudo_admin(request)
    await read_fields(request)
    await organizations.remove(sudo, _domain(request))
    context = await _list_context(request, sudo.viewer)
    return _respond_with_list(request, "organization-removed", context)


def _read_data(form: NewOrganization | OrganizationChange) -> OrganizationData:
    return OrganizationData(
        label=form.label,
        issuer=form.issuer,
        client_id=form.client_id,
        client_secret=form.client_secret,
        scopes=form.scopes,
        allows_sign_up=form.allows_sign_up == "yes",
        role_claim=form.role_claim,
        roles=form.rules,
    )


def _add_problem(form: Form[Any], error: ProviderUnavailable | UnknownRole) -> None:
    if isinstance(error, UnknownRole):
        form.add_error("rules", UNKNOWN_ROLE)
        return
    problem = PROBLEMS.get(error.code) or OTHER_PROBLEM.format(code=error.code)
    form.add_error("issuer", problem)


def _respond_with_list(request: Request, flash: str, context: dict[str, Any]) -> Response:
    return changed_fragment(
        request,
        TITLE,
        to="admin-organizations",
        fragment="organizations/list.html",
        toast=confirm(request, flash),
        **context,
    )


async def _respond_with_organization(request: Request, viewer: Admin, flash: str) -> Response:
    context = await _context(request, viewer)
    return changed_fragment(
        request,
        context["organization"].label,
        to="admin-organizations",
        fragment="organizations/content.html",
        toast=confirm(request, flash),
        **context,
    )


def _refuse(
    request: Request, status: int, retry_after: int | None, context: dict[str, Any]
) -> Response:
    return refused_form(
        request,
        "organizations/organization.html",
        context["organization"].label,
        form_id="organization",
        fragment="organizations/content.html",
        status=status,
        retry_after=retry_after,
        layout="app",
        **context,
    )


async def _list_context(request: Request, viewer: Admin) -> dict[str, Any]:
    return {
        "me": viewer.me,
        "flash": "",
        "organizations": await organizations.list_organizations(viewer),
        "form": Form.blank(NewOrganization, scopes="openid email profile", allows_sign_up="yes"),
        "is_new": True,
        "roles": await _role_names(viewer),
        "redirect_uri": _login_url(request, "example.com", "callback"),
    }


async def _context(request: Request, viewer: Admin) -> dict[str, Any]:
    details = await organizations.get_details(viewer, _domain(request))
    form = Form.blank(OrganizationChange)
    form.values = _values(details)
    return {
        "me": viewer.me,
        "organization": details,
        "record_problem": "",
        "form": form,
        "is_new": False,
        "roles": await _role_names(viewer),
        "redirect_uri": _login_url(request, details.domain, "callback"),
        "logout_uri": _login_url(request, details.domain, "logout"),
        "now": now(request),
    }


async def _role_names(viewer: Admin) -> list[str]:
    return [role.name for role in await roles.list_roles(viewer)]


def _values(details: OrganizationDetails) -> dict[str, str]:
    return {
        "label": details.label,
        "issuer": details.issuer,
        "client_id": details.client_id,
        "scopes": details.scopes,
        "allows_sign_up": "yes" if details.allows_sign_up else "",
        "role_claim": details.role_claim,
        "rules": "\n".join(f"{value} = {role}" for value, role in details.roles),
    }


def _login_url(request: Request, domain: str, last: str) -> str:
    return f"{app_state(request.scope).settings.public_url}/login/with/{domain}/{last}"


def _domain(request: Request) -> str:
    return str(request.path_params["domain"])
