"""Contains the typed state of the application and of one request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from re import Pattern
from typing import TYPE_CHECKING, Any, TypedDict, cast

from starlette.types import Scope

from web.observability.suppression import LogSuppression

if TYPE_CHECKING:
    from db.crypto.secret import Secret
    from db.store import Store
    from db.viewer import Claims, Mailer, Viewer
    from web.forms.password_policy import PasswordPolicy
    from web.languages import Language, Languages
    from web.mail.rendering import MailRenderer
    from web.observability.metrics import Metrics
    from web.product import Product
    from web.rendering.assets import Assets
    from web.rendering.layouts import Layouts
    from web.rendering.templates import TemplatesByLanguage
    from web.settings.settings import Settings


@dataclass
class AppState:
    """The objects that all requests share. `create_app` makes one, as `app.state`."""

    settings: Settings
    store: Store
    clock: Callable[[], datetime]
    metrics: Metrics
    password_policy: PasswordPolicy
    product: Product
    protected_pages: Sequence[Pattern[str]]
    assets: Assets
    languages: Languages
    templates: TemplatesByLanguage
    layouts: Layouts
    mail_renderer: MailRenderer
    mailer: Mailer | None  # None if mail cannot be sent
    permissions: Mapping[str, str]  # that the product declares, with what each allows
    cached_pages: dict[tuple[object, ...], bytes] = field(default_factory=dict)
    draining: bool = False  # True after a signal to stop.
    log_suppression: LogSuppression = field(default_factory=LogSuppression)


class RequestState(TypedDict, total=False):
    """The results that one request keeps for its later steps, as `scope["state"]`."""

    request_id: str
    status: int  # Present after the response has started.
    fields: Mapping[str, Any] | None
    bearer: Secret[str] | None  # the access token of the request, not verified
    claims: Claims | None
    viewer: Viewer
    language: Language
    navigation_changed: bool
    confirmed: Secret[str]  # the sudo cookie that this request has just set
    set_cookies: dict[str, bytes]  # Set-Cookie values by cookie name


def app_state(scope: Scope) -> AppState:
    """Returns the state of the application that handles the request."""
    return cast(AppState, scope["app"].state)


def request_state(scope: Scope) -> RequestState:
    """Returns the state of the request. Creates it if the server has not."""
    return cast(RequestState, scope.setdefault("state", {}))
