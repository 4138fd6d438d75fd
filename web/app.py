"""Contains create_app, which builds the ASGI application from the settings."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from db.access import outbox
from db.crypto.secret import Secret
from db.mail.outbox import EVENT_TYPES
from db.mail.state import OutboxState
from db.maintenance.counters import count_live_sessions, read_counters
from db.maintenance.startup import open_database, run_maintenance
from db.product import ProductData
from db.store import Store, make_store
from db.viewer import Mailer
from web.delivery.delivery import Delivery
from web.delivery.hooks import HookChannel
from web.delivery.webhooks import WebhookChannel
from web.forms.password_policy import PASSWORD_POLICIES
from web.languages import Languages, with_folder
from web.mail.channel import MailChannel
from web.mail.rendering import MailRenderer
from web.mail.smtp import SmtpTransport
from web.mail.transport import MailboxTransport
from web.middleware.allowed_hosts import AllowedHosts
from web.middleware.base_path import BasePath
from web.middleware.compression import Compression
from web.middleware.cross_origin import CrossOriginCheck
from web.middleware.error_handler import ErrorHandler
from web.middleware.request_limits import HANDLER_TIMEOUT_SECONDS, RequestLimits
from web.middleware.security_headers import SecurityHeaders, build_csp
from web.observability.metrics import Metrics, MetricsMiddleware
from web.product import NO_PRODUCT, Product
from web.rendering.assets import load_assets
from web.rendering.layouts import Layouts
from web.rendering.templates import TemplatesByLanguage, make_environment
from web.router import AppRoute, Router
from web.routes import callback_paths, protected_pages, routes_for
from web.settings.environment import InvalidSetting
from web.settings.mail_settings import mail_domain
from web.settings.settings import Settings
from web.settings.webhook_settings import require_known_events
from web.state import AppState


class App(Starlette):
    """Starlette with `web.router.Router` and without Starlette's two exception middlewares.

    `ErrorHandler` alone turns exceptions into responses.
    """

    state: AppState  # type: ignore[assignment]

    def __init__(
        self, app_routes: Sequence[AppRoute], middleware: Sequence[Middleware], base_path: str = ""
    ) -> None:
        super().__init__(middleware=middleware)
        self.router = Router(app_routes, _lifespan, base_path)
        self._entry = BasePath(super().__call__, base_path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._entry(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        stack: ASGIApp = self.router
        for middleware, arguments, options in reversed(self.user_middleware):
            stack = middleware(stack, *arguments, **options)
        return stack


def create_app(
    settings: Settings,
    store: Store | None = None,
    clock: Callable[[], datetime] | None = None,
    *,
    metrics_token: Secret[str] | None = None,
    templates: TemplatesByLanguage | None = None,
    product: Product = NO_PRODUCT,
    languages: Languages | None = None,
    handler_timeout: float = HANDLER_TIMEOUT_SECONDS,
) -> App:
    """Returns the application. Tests pass their own store, clock and compiled templates.

    `product` is what the folder `product/` adds. Its data part belongs to the store. Tests may pass
    other `languages`.
    """
    store = store or open_store(settings, product=product.data)
    mailer = Mailer(store) if settings.sends_mail else None
    metrics = _metrics_of(store, settings, metrics_token)
    app_routes = routes_for(settings, product.routes)
    app = App(
        app_routes,
        [
            Middleware(MetricsMiddleware, metrics),
            Middleware(Compression),
            Middleware(
                SecurityHeaders,
                hsts=settings.hsts,
                hsts_max_age=settings.hsts_max_age,
                csp=build_csp(_csp_sources(settings)),
            ),
            Middleware(ErrorHandler),
            Middleware(
                CrossOriginCheck,
                base_url=settings.base_url,
                exempt_paths=callback_paths(settings),
            ),
            Middleware(AllowedHosts, base_url=settings.base_url),
            Middleware(RequestLimits, max_body=settings.max_body, handler_timeout=handler_timeout),
        ],
        settings.base_path,
    )
    store.passwords.observe = metrics.hash_seconds.observe
    store.providers.observe = metrics.observe_provider
    assets = load_assets(product.brand, product.find_folder("static"), settings.base_path)
    languages = languages or with_folder(product.find_folder("locale"))
    templates = templates or TemplatesByLanguage(
        partial(
            make_environment,
            app.router,
            assets,
            product.brand,
            product.menu,
            product.find_folder("partials"),
            languages,
        ),
        languages["en"],
    )
    password_policy = replace(
        PASSWORD_POLICIES[settings.password_policy], site_name=product.brand.name
    )
    app.state = AppState(
        settings=settings,
        store=store,
        clock=clock or store.now,
        metrics=metrics,
        password_policy=password_policy,
        product=product,
        protected_pages=protected_pages(app_routes),
        assets=assets,
        languages=languages,
        templates=templates,
        mail_renderer=MailRenderer(
            settings, product.brand, product.find_folder("partials"), languages
        ),
        layouts=Layouts(templates, password_policy, settings.max_body),
        mailer=mailer,
        permissions=product.data.permissions,
    )
    return app


def _csp_sources(settings: Settings) -> Mapping[str, Sequence[str]]:
    """Returns the additional sources of the Content-Security-Policy, by directive.

    Chromium also applies form-action to the redirect that answers a form, such as that of a log-in
    to a URL of RETURN_TO.
    """
    sources = settings.csp_sources
    targets = (*sources.get("form-action", ()), *settings.forward.return_origins)
    return {**sources, "form-action": targets} if targets else sources


def open_store(settings: Settings, *, product: ProductData | None = None, **options: Any) -> Store:
    """Returns the store that the settings describe, without a database connection.

    Raises InvalidSetting if WEBHOOK_EVENTS or a hook names an unknown event.
    """
    product, webhook = product or ProductData(), settings.webhook
    check_events(settings, product)
    outbox = OutboxState(
        is_enabled=settings.sends_mail,
        requires_verification=settings.email_verification == "required",
        keeps_content=settings.has_mailbox,
        webhook_events=webhook.events if webhook else (),
    )
    return make_store(
        settings.database_url,
        settings.session_secrets,
        strategy=settings.strategy,
        encrypted=settings.encrypted,
        rate_limits=settings.rate_limits,
        changed_limits=settings.changed_limits,
        breached_passwords=settings.breached_passwords,
        outbox=outbox,
        lifetimes=settings.session_lifetimes,
        factors=settings.factors,
        providers=settings.providers,
        organizations=settings.organizations,
        product=product,
        **options,
    )


def check_events(settings: Settings, product: ProductData) -> None:
    """Raises InvalidSetting if WEBHOOK_EVENTS or a hook names an event that neither the program nor
    the product has, because such a webhook or hook would silently do nothing.
    """
    for name in product.unknown_hook_events:
        raise InvalidSetting("product/hooks.py", f"there is no event {name[:40]!r}")
    if settings.webhook is not None:
        require_known_events(settings.webhook, product.known_events)


def _metrics_of(store: Store, settings: Settings, token: Secret[str] | None) -> Metrics:
    has_stored_sessions = store.strategy == "database"
    mailer = Mailer(store)
    has_events = settings.webhook is not None or bool(store.product.hooks.after)
    return Metrics(
        partial(read_counters, store),
        partial(count_live_sessions, store) if has_stored_sessions else None,
        partial(outbox.read_queue, mailer) if settings.sends_mail else None,
        token,
        partial(outbox.read_queue, mailer, EVENT_TYPES) if has_events else None,
    )


def _deliveries_of(state: AppState) -> list[Delivery]:
    """Returns a delivery for each sort of message that this program writes.

    Each is a task of its own, so that a slow receiver of webhooks delays neither mails nor hooks.
    """
    settings, store, metrics = state.settings, state.store, state.metrics
    mailer, deliveries = Mailer(store), []
    if state.mailer is not None:
        deliveries.append(_mail_delivery_of(state, state.mailer))
    if store.product.hooks.after:
        hooks = HookChannel(mailer)
        deliveries.append(Delivery(mailer, hooks, store.outbox.wait, metrics.count_event))
    if settings.webhook is not None:
        webhooks = WebhookChannel(settings.webhook, state.clock)
        deliveries.append(Delivery(mailer, webhooks, store.outbox.wait, metrics.count_event))
    return deliveries


def _mail_delivery_of(state: AppState, mailer: Mailer) -> Delivery:
    settings = state.settings
    host = urlsplit(settings.base_url).hostname or ""
    transport = (
        SmtpTransport(settings.mail, settings.mail_from.email, mail_domain(host))
        if settings.mail is not None
        else MailboxTransport()
    )
    return Delivery(
        mailer,
        MailChannel(transport, state.mail_renderer),
        mailer.store.outbox.wait,
        state.metrics.count_mail,
        resolve=outbox.resolve_next,
    )


@contextlib.asynccontextmanager
async def _lifespan(app: App) -> AsyncIterator[None]:
    async with run_tasks(app.state):
        # Garbage collections then skip imported objects, which lowers p99 latency from 13 to 4 ms.
        gc.freeze()
        gc.set_threshold(10_000)
        yield


@contextlib.asynccontextmanager
async def run_tasks(state: AppState) -> AsyncIterator[None]:
    """Opens the database, prunes and delivers messages in the background until the block ends.

    The block runs even if the database is unavailable. Maintenance then retries until the database
    can be opened.
    """
    store = state.store
    deliveries = _deliveries_of(state)
    problem = await open_database(store)
    maintenance_task = asyncio.create_task(run_maintenance(store, problem))
    for delivery in deliveries:
        delivery.start()
    try:
        yield
    finally:
        await asyncio.gather(*[delivery.stop() for delivery in deliveries])
        maintenance_task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await maintenance_task
        await store.database.disconnect()
        store.passwords.close()
