"""Contains the endpoints of the JSON API. They never return a redirect or HTML."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from db.access import admin, users
from web.forms.form import Form, read_query
from web.forms.schemas import UsersQuery
from web.http.session import verify_admin, verify_session
from web.rendering.formatting import iso
from web.rendering.openapi import build_document
from web.rendering.problem_details import problem
from web.state import app_state


async def session(request: Request) -> Response:
    """Returns the viewer's DTO and the time at which the session ends."""
    viewer = await verify_session(request)
    me = viewer.me
    user = {"id": me.id, "name": me.name, "role": me.role, "slug": me.slug}
    return JSONResponse({"user": user, "expires_at": iso(viewer.expires_at)})


async def user(request: Request) -> Response:
    """Returns a profile. Fields that the viewer may not see are null."""
    viewer = await verify_session(request)
    profile = await users.get_profile(viewer, request.path_params["slug"])
    return JSONResponse(
        {
            "name": profile.name,
            "slug": profile.slug,
            "role": profile.role,
            "role_label": profile.role_label,
            "team": profile.team,
            "email": profile.email,
            "phone": profile.phone,
            "created_at": iso(profile.created_at),
        }
    )


async def users_list(request: Request) -> Response:
    """Returns one page of users. Raises Forbidden if the viewer is not an administrator."""
    viewer = await verify_admin(request)
    form = Form.check(UsersQuery, read_query(request))
    if form.data is None:
        return problem(422, "The query is not valid.", errors=form.errors)
    found = await admin.search_users(
        viewer, q=form.data.q, page=form.data.page, sort=form.data.sort
    )
    return JSONResponse(
        {
            "users": [
                {
                    "id": user_found.id,
                    "name": user_found.name,
                    "email": user_found.email,
                    "role": user_found.role,
                    "role_label": user_found.role_label,
                    "slug": user_found.slug,
                    "team": user_found.team,
                    "disabled": user_found.disabled,
                    "verified": user_found.verified,
                }
                for user_found in (found.users if form.data.page <= found.pages else [])
            ],
            "total": found.total,
            "page": form.data.page,
            "pages": found.pages,
        }
    )


async def openapi(request: Request) -> Response:
    state = app_state(request.scope)
    product = state.product
    return JSONResponse(build_document(state.settings, product.brand.name, product.api_paths))
