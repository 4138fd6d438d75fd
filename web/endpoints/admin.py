"""People, for administrators: the list, and what can be done to each."""

from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from db.access import admin
from db.viewer import Admin
from web.forms.form import Form, read_fields, read_query
from web.forms.schemas import PeopleQuery, RoleChange, TeamChange
from web.http.session import verify_admin
from web.rendering.flash_messages import confirm, keep_notice, take_notice
from web.rendering.responses import changed, leave, now, page, path_of, refused

TITLE = "People"


async def show(request: Request) -> Response:
    viewer = await verify_admin(request)
    context = await _people(request, viewer) | {"notice": take_notice(request)}
    return page(request, "admin/page.html", TITLE, layout="house", **context)


async def show_person(request: Request) -> Response:
    """What can be done to one user: a page without scripts, and with them the content of a menu of
    the list.
    """
    viewer = await verify_admin(request)
    person = await admin.get_person(viewer, _user_id(request))
    query = await _asked(request)
    context: dict[str, Any] = {
        "person": person,
        "asked": query,
        "back": _address(query),
        "mistake": None,
    }
    return page(request, "admin/person.html", person.name, layout="house", me=viewer.me, **context)


async def change_role(request: Request) -> Response:
    viewer = await verify_admin(request)
    form = Form.check(RoleChange, await read_fields(request))
    if form.data is None:
        await admin.require_person(viewer, _user_id(request))
        raise HTTPException(422, "That role doesn't exist.")
    await admin.change_role(viewer, _user_id(request), form.data.role)
    if _user_id(request) == viewer.id and form.data.role != "admin":
        keep_notice(request, "role-given-up")
        # the list is no longer theirs to see
        return leave(request, to=path_of(request, "dashboard"))
    return await _changed(request, viewer, "role-changed")


async def change_team(request: Request) -> Response:
    viewer = await verify_admin(request)
    form = Form.check(TeamChange, await read_fields(request))
    if form.data is None:
        await admin.require_person(viewer, _user_id(request))
        return await _refused_team(request, viewer, form)
    await admin.change_team(viewer, _user_id(request), form.data.team)
    return await _changed(request, viewer, "team-changed")


async def disable(request: Request) -> Response:
    viewer = await verify_admin(request)
    await admin.disable(viewer, _user_id(request))
    return await _ended(request, viewer, "account-disabled")


async def enable(request: Request) -> Response:
    viewer = await verify_admin(request)
    await admin.enable(viewer, _user_id(request))
    return await _changed(request, viewer, "account-enabled")


async def end_sessions(request: Request) -> Response:
    viewer = await verify_admin(request)
    await admin.end_sessions(viewer, _user_id(request))
    return await _ended(request, viewer, "sessions-ended")


async def _refused_team(request: Request, viewer: Admin, form: Form[TeamChange]) -> Response:
    """The list once more, with what was typed and the sentence in that person's row."""
    field = form["team"]
    sentence = field.errors[0] if field.errors else form.message
    context = await _people(request, viewer)
    context["wrong"] = {"id": _user_id(request), "team": field.value, "sentence": sentence}
    return refused(
        request,
        "admin/page.html",
        TITLE,
        form_id="people-list",
        fragment="admin/list.html",
        layout="house",
        **context,
    )


async def _ended(request: Request, viewer: Admin, notice: str) -> Response:
    """After an account's sessions have ended: administrators who ended their own are logged out."""
    if _user_id(request) == viewer.id:
        keep_notice(request, "logged-out-everywhere")
        return leave(request, to=path_of(request, "login"), delete_cookie=True)
    return await _changed(request, viewer, notice)


async def _changed(request: Request, viewer: Admin, notice: str) -> Response:
    context = await _people(request, viewer)
    return changed(
        request,
        TITLE,
        to="admin-users",
        query=context["back"],
        fragment="admin/list.html",
        toast=confirm(request, notice),
        **context,
    )


def _address(query: PeopleQuery) -> str:
    """The query string of this page of this search; empty where all of it is the default."""
    changed_fields = query.model_dump(exclude_defaults=True)
    return f"?{urlencode(changed_fields)}" if changed_fields else ""


async def _asked(request: Request) -> PeopleQuery:
    """The page of the list in the query string, or in the form that was on it; defaults for what is
    not valid.
    """
    asked = await read_fields(request) if request.method == "POST" else read_query(request)
    wrong = Form.check(PeopleQuery, asked).errors
    return PeopleQuery.model_validate(
        {name: value for name, value in (asked or {}).items() if name not in wrong}
    )


async def _people(request: Request, viewer: Admin) -> dict[str, Any]:
    """The context of the list."""
    asked = await _asked(request)
    found = await admin.list_people(viewer, q=asked.q, page=asked.page, sort=asked.sort)
    query = asked.model_copy(update={"page": found.page})
    around = {"me": viewer.me, "now": now(request), "notice": "", "wrong": None}
    return {**around, "people": found, "asked": query, "back": _address(query)}


def _user_id(request: Request) -> str:
    return str(request.path_params["id"])
