"""The architecture rules as tests: the code obeys each rule, and each rule detects a planted
violation.
"""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from sqlalchemy import Insert, Select, Update

from db.engine.statement import Statement
from db.tables import users
from db.viewer import Viewer
from web.middleware.guard import RouteAccess
from web.product import load_product
from web.router import Admins, AppRoute
from web.routes import routes

ROOT = Path(__file__).parent.parent
Tree = dict[str, str]

WITHOUT_VIEWER = {  # These coroutines of db/access need no viewer.
    "db/access/signup.py:is_email_taken",
    "db/access/signup.py:sign_up",
    "db/access/signup.py:sign_up_privately",
    "db/access/login.py:log_in",
    "db/access/passkey_login.py:begin_log_in",
    "db/access/passkey_login.py:find_unknown_credential",
    "db/access/passkey_login.py:log_in",
    "db/access/health.py:check_database",
    "db/access/links.py:find_link",
    "db/access/password_reset.py:request_reset",
    "db/access/password_reset.py:reset_password",
    "db/access/account_lock.py:lock_account",
    "db/access/account_deletion.py:keep_account_by_link",
    "db/access/invitations.py:find_invitation",
    "db/access/invitations.py:join",
    "db/access/providers.py:begin",
    "db/access/providers.py:finish",
    "db/access/providers.py:get_provider",
    "db/access/providers.py:find_label",
    "db/access/providers.py:list_links_for",
    "db/access/providers.py:find_kept_identity",
    "db/access/providers.py:find_provider_of_email",
    "db/access/providers.py:report_failure",
    "db/access/provider_logout.py:end_sessions",
    "db/access/provider_accounts.py:log_in",
    "db/access/provider_signup.py:sign_up",
    "db/access/provider_signup.py:take_over",
    "db/access/provider_accounts.py:log_in_with_identity",
    "db/access/provider_accounts.py:move_identity",
    "db/access/provider_accounts.py:start_provider_session",
    "db/access/provider_accounts.py:find_email_owner",
    "db/access/provider_accounts.py:insert_identity",
}
CALLERS = (
    *("Store", "Claimant", "Viewer", "Admin", "Sudo[Viewer]", "Sudo[Admin]", "Operator", "Mailer"),
)
# The callers whose right is verified again in the transaction of a change.
CHANGERS = ("Viewer", "Admin", "Sudo[Viewer]", "Sudo[Admin]")
# Where a file belongs, by the start of its path. The folder `product` is that of an adopter, or the
# example product.
ACCESS = ("db/access/", "product/access/")
ENDPOINTS = ("web/endpoints/", "product/endpoints/")
# The modules of a product that may contain SQL. All others are like those of `web`.
PRODUCT_DATA = ("product/access/", "product/tables.py", "product/events.py", "product/hooks.py")
PRODUCT_LAYERS_OF_DATA = ("product.access", "product.events", "product.tables")
# Only these modules open a store, and create the callers that are no users.
STORE_MODULES = ("web/app.py", "web/cli/operator_tasks.py")
CREATORS = {
    "Mailer": "web/app.py",
    "Operator": "web/cli/operator_tasks.py",
    "Sudo": "db/sessions/sudo.py",
    "Claimant": "db/sessions/claimants.py",
}
# Every module may contain texts for users.
EVERYWHERE = ("db.messages",)
STORE = ("db.crypto", "db.engine", "db.errors", "db.store", "db.tables")
# The modules that every module of `web` may import.
WEB = ("web.state", "web.brand", "web.languages", "web.http.methods", "db.ip_addresses")
IMPORTS: dict[str, tuple[str, ...]] = {
    # Maps each package or module to the project modules that it may import besides itself. The most
    # specific entry counts.
    "db.errors": (),
    "db.clock": (),
    "db.emails": (),
    "db.ip_addresses": (),
    "db.messages": (),
    "db.device_names": (),
    "db.hooks": (),
    "db.role_names": (),
    "db.scopes": (),
    "db.factor_settings": (),
    "db.providers": ("db.crypto.secret", "db.emails", "db.errors", "db.ip_addresses"),
    "db.providers.flows": ("db.crypto.encrypted_tokens", "db.crypto.secret"),
    "db.providers.asserted": ("db.crypto.encrypted_tokens", "db.crypto.secret"),
    "db.organizations": ("db.providers.provider", *STORE),
    "db.organizations.settings": (),
    "db.organizations.changes": (
        *("db.accounts", "db.admin_changes", "db.organizations", "db.viewer", *STORE),
    ),
    "db.organizations.roles": (
        *("db.accounts", "db.admin_changes", "db.audit", "db.providers.asserted", "db.viewer"),
        *STORE,
    ),
    "db.admin_changes": ("db.audit", "db.rate_limits", "db.sessions", "db.viewer", *STORE),
    "db.used_tokens": STORE,
    "db.product": ("db.audit.events", "db.hooks"),
    "db.crypto": ("db.errors",),
    "db.engine": ("db.errors",),
    "db.tables": ("db.crypto", "db.errors"),
    "db.database": ("db.crypto", "db.errors"),
    "db.store": (
        "db.clock",
        "db.crypto",
        "db.database",
        "db.engine",
        "db.errors",
        "db.factor_settings",
        "db.mail.state",
        "db.organizations.settings",
        "db.product",
        "db.providers",
        "db.rate_limits.limits",
        "db.rate_limits.recent",
        "db.sessions.lifetimes",
    ),
    "db.user_search": ("db.tables",),
    "db.viewer": (
        *("db.crypto.secret", "db.device_names", "db.errors", "db.sessions.provider_login"),
        "db.store",
    ),
    "db.rate_limits.limits": (),
    "db.rate_limits.recent": ("db.rate_limits.limits",),
    "db.rate_limits.ip_networks": ("db.ip_addresses", "db.rate_limits.limits"),
    # The audit log has rate limits of its own.
    "db.rate_limits.buckets": ("db.rate_limits.limits", *STORE),
    "db.audit": (
        *("db.rate_limits.limits", "db.rate_limits.ip_networks", "db.rate_limits.buckets"),
        *("db.device_names", "db.hooks", "db.role_names", "db.viewer", *STORE),
    ),
    "db.audit.hooks": ("db.errors", "db.hooks", "db.mail.outbox", "db.store"),
    "db.rate_limits": ("db.audit", *STORE),
    "db.mail.state": (),
    "db.mail": ("db.viewer", *STORE),
    "db.sessions": ("db.rate_limits", "db.audit", "db.role_names", "db.viewer", *STORE),
    "db.sessions.lifetimes": (),
    "db.sessions.provider_login": (),
    "db.accounts": (
        "db.admin_changes",
        "db.mail",
        "db.sessions",
        "db.rate_limits",
        "db.audit",
        "db.user_search",
        "db.viewer",
        *STORE,
    ),
    "db.factors": (
        *("db.sessions", "db.mail", "db.audit", "db.factor_settings", "db.used_tokens"),
        *("db.organizations", "db.rate_limits", "db.viewer", *STORE),
    ),
    "db.deletions": ("db.accounts", "db.mail", "db.sessions", "db.viewer", *STORE),
    "db.permissions": ("db.viewer", *STORE),
    "db.roles": (
        *("db.accounts", "db.admin_changes", "db.role_names"),
        *("db.viewer", *STORE),
    ),
    "db.access": (
        *(
            "db.accounts",
            "db.admin_changes",
            "db.deletions",
            "db.factors",
            "db.used_tokens",
            "db.organizations",
            "db.permissions",
            "db.providers",
            "db.used_tokens",
            "db.roles",
            "db.scopes",
            "db.mail",
            "db.sessions",
            "db.rate_limits",
            "db.audit",
            "db.hooks",
            "db.user_search",
            "db.used_tokens",
            "db.device_names",
            "db.role_names",
        ),
        *("db.viewer", *STORE),
    ),
    "db.maintenance": (
        *("db.sessions", "db.rate_limits", "db.audit", "db.database", "db.product"),
        *("db.factors.rekey", "db.organizations.rekey", *STORE),
    ),
    "web.settings": (
        "db.crypto.secret",
        "db.factor_settings",
        "db.ip_addresses",
        "db.organizations.settings",
        "db.providers.provider",
        "db.rate_limits.limits",
        "db.sessions.lifetimes",
    ),
    # Pruning deletes accounts at the end of their grace period, and tells their users.
    "db.maintenance.pruning": (
        *("db.accounts", "db.admin_changes", "db.deletions", "db.mail", "db.audit", *STORE),
    ),
    # Apart from `web.observability.suppression`, for the type checker only.
    "web.state": ("db.crypto.secret", "db.store", "db.viewer", "web"),
    "web.observability": ("db.access.outbox.QueueFigures", "db.crypto.secret", "db.errors"),
    "web.forms": ("db.crypto.secret", "db.emails", "db.role_names"),
    "web.forms.organization_fields": (
        *("db.crypto.secret", "db.emails", "db.providers.provider.is_issuer", "db.role_names"),
        "web.forms",
    ),
    "web.http": (
        *(
            "db.access.audit",
            "db.access.links",
            "db.access.providers",
            *("db.providers.asserted.Asserted", "db.providers.provider.Provider"),
            "db.mail.tokens",
            "db.crypto.secret",
            "db.device_names",
            "db.errors",
            "db.role_names",
            "db.sessions",
            "db.viewer",
        ),
        *("web.forms.form", "web.observability", "web.settings"),
    ),
    "web.http.redirects": ("web.http.cookies", "web.rendering.responses"),
    "web.rendering": (
        *("db.viewer.Me", "db.viewer.Role", "db.sessions.claims", "db.errors"),
        "db.sessions.claimants.NewClaim",
        *("web.forms", "web.http", "web.menu", "web.observability", "web.settings"),
    ),
    "web.rendering.provider_texts": ("db.access.providers", "web.rendering"),
    "web.rendering.provider_departure": (
        *("db.access.providers", "db.providers.provider.Provider", "db.errors"),
        *("web.http", "web.rendering"),
    ),
    "web.rendering.factor_changes": ("db.factors.changes.FactorChange", "web.rendering"),
    "web.rendering.qr_code": ("db.crypto.secret",),
    # The error handler and the endpoints show the same page.
    "web.rendering.confirmation_page": (
        *("db.access.confirmation", "db.access.provider_confirmation", "db.crypto.secret"),
        *("db.viewer", "web.forms", "web.http"),
        "web.rendering",
    ),
    "web.rendering.flash_messages": (
        *("db.crypto.secret", "db.sessions.claims", "web.http.cookies", "web.rendering.responses"),
    ),
    # The module refuses values of the types that it imports.
    "web.rendering.template_types": ("db.crypto.secret", "db.viewer"),
    "web.rendering.passkey_forms": (
        *("db.factors.passkeys.Ceremony", "web.http.redirects", "web.rendering.responses"),
    ),
    "web.middleware": (
        "db.errors",
        "web.http",
        "web.rendering",
        "web.observability",
        "web.settings",
    ),
    "web.endpoints": (
        *("db.access", "db.audit.events", "db.crypto.secret", "db.errors", "db.viewer"),
        *("db.sessions.claimants", "db.factors.verification.GivenFactor"),
        *("db.sessions.claims.NewSession", "db.sessions.sudo"),
        "db.factors.changes.FactorChange",
        "db.roles.RoleSummary",
        *("web.forms", "web.http", "web.mail.rendering", "web.mail.samples", "web.rendering"),
        "web.settings",
        *("web.observability.metrics", "web.middleware.local_clients"),
        "web.observability.logs.log_unavailable",
        "web.middleware.cross_origin",
        "web.middleware.security_headers",
        "web.product.DashboardCard",  # for the type checker only
        *("db.providers.answers", "db.providers.asserted.Asserted"),
        "db.providers.provider.Provider",
        *(
            "db.organizations.lookup.OrganizationData",
            "db.organizations.changes.OrganizationDetails",
        ),
    ),
    "web.mail": (
        *("db.access.outbox", "db.crypto.secret", "db.errors", "db.mail.outbox.MAIL_TYPES"),
        "db.device_names",
        *("db.mail.outbox.MessageType", "db.viewer"),
        *("web.delivery.channel", "web.rendering.local_formats", "web.rendering.translation"),
        "web.settings",
    ),
    "web.delivery": (
        *("db.access.hooks", "db.access.outbox", "db.crypto.secret", "db.errors"),
        *("db.mail.outbox.EventType", "db.viewer", "web.observability.logs", "web.settings"),
    ),
    "web.brand": (),
    "web.languages": ("web.settings.paths",),
    "web.menu": (),
    "web.router": ("db.role_names", "web.http", "web.middleware.guard"),
    "web.routes": (
        "web.endpoints",
        "web.forms.schemas",
        "web.middleware.guard",
        "web.router",
        "web.settings",
    ),
    "web.product": (
        *("db.hooks", "db.product", "web.menu", "web.product_checks"),
        *("web.router", "web.settings.paths", "web.settings.settings.Settings"),
    ),
    "web.product_checks": (
        *("db.audit.events", "db.product", "db.role_names", "db.scopes", "db.tables"),
        *("web.menu", "web.router", "web.routes"),
    ),
    "web.app": (
        *("db.access.outbox", "db.crypto.secret", "db.mail.outbox.EVENT_TYPES", "db.mail.state"),
        *("db.maintenance", "db.product", "db.store", "db.viewer"),
        *(
            "web.delivery",
            "web.forms",
            "web.mail",
            "web.middleware",
            "web.observability",
            "web.product",
            "web.rendering",
            "web.router",
            "web.routes",
        ),
        "web.settings",
    ),
    # A product. Its modules outside of PRODUCT_DATA may import any other of it.
    "product.access": (),
    "product.brand": (),
    "product.dashboard": ("web.product.DashboardCard",),
    "product.endpoints": (),
    "product.events": ("db.audit.events",),
    "product.forms": ("db.crypto.secret", "web.forms"),
    "product.hooks": (),
    "product.menu": ("web.menu",),
    "product.routes": ("web.forms.schemas", "web.router"),
    "product.tables": ("db.tables",),
    "product": ("db.clock", "db.crypto.secret", "db.errors", "db.viewer"),
    "web.asgi": (
        *("db.errors", "db.maintenance.schema", "db.viewer.Me"),
        *("web.app", "web.http.session", "web.middleware", "web.observability.logs"),
        *("web.product", "web.server.dependency_check", "web.settings"),
    ),
    "web.server": ("db", "web"),  # Only these two packages may import web.server and web.cli.
    "web.cli": ("db", "web"),
}
# The data access layer and the endpoints of a product may import what those of the program may.
IMPORTS["product.access"] = ("db.access", *IMPORTS["db.access"])
IMPORTS["product.hooks"] = ("db.hooks", *IMPORTS["product.access"])
IMPORTS["product.endpoints"] = ("db.permissions.permissions_of", *IMPORTS["web.endpoints"])
FROM_THE_HOST_HEADER = re.compile(r"(\brequest|\bRequest\(.*\))\.(url|base_url|url_for)")
VAGUE_NAMES = {"utils", "helpers", "services", "common", "manager"}


def tree(*folders: str, suffix: str = ".py") -> Tree:
    """Returns the text of each project file in these folders by path, without migrations."""
    paths = (path for folder in folders for path in (ROOT / folder).rglob(f"*{suffix}"))
    return {
        str(path.relative_to(ROOT)): path.read_text()
        for path in paths
        if "migrations" not in path.parts
    }


def product_tree(folder: str, package: str, suffix: str = ".py") -> Tree:
    """Returns the files of a product without its tests, as if it were the folder `product`."""
    return {
        f"product{path.removeprefix(folder)}": source.replace(package, "product")
        for path, source in tree(folder, suffix=suffix).items()
        if not path.startswith(f"{folder}/tests/")
    }


# The example product, and the product of an adopter.
PRODUCTS = {"tests/example_product": "tests.example_product", "product": "product"}
PRODUCT_FOLDERS = [folder for folder in PRODUCTS if (ROOT / folder).is_dir()]


def imports(source: str) -> Iterator[str]:
    """Yields every module that a source imports, and `module.name` for each imported name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_in(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


# Each rule takes a tree and yields its violations.


def db_imports_no_http(files: Tree) -> Iterator[str]:
    for path, source in files.items():
        if path.startswith(("db/", "product/access/")):
            yield from (
                f"{path} imports {name}"
                for name in imports(source)
                if is_in(name, ("web", "starlette", "jinja2"))
            )


def packages_import_only_listed_packages(files: Tree) -> Iterator[str]:
    for path, source in files.items():
        module = path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        package = max((name for name in IMPORTS if is_in(module, (name,))), key=len, default=None)
        if package is None:
            if module not in ("db", "web"):
                yield f"{path} has no entry in IMPORTS"
            continue
        allowed = (package, *EVERYWHERE, *IMPORTS[package], *(WEB if is_web(path) else ()))
        if path.startswith("product/"):
            allowed += ("product",) if is_web(path) else PRODUCT_LAYERS_OF_DATA
        for name in imported_names(source):
            if is_in(name, ("db", "web", "product")) and not is_in(name, allowed):
                yield f"{path} imports {name}"


def is_web(path: str) -> bool:
    return path.startswith("web/") or (
        path.startswith("product/") and not path.startswith(PRODUCT_DATA)
    )


def imported_names(source: str) -> Iterator[str]:
    """Yields the same as `imports`, without the module of a `from` import."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules_do_not_reexport(files: Tree) -> Iterator[str]:
    for path, source in files.items():
        module = ast.parse(source)
        docstring = ast.get_docstring(module)
        if (
            path.endswith("/__init__.py")
            and path != "db/engine/__init__.py"
            and module.body[1 if docstring else 0 :]
        ):
            yield f"{path} is more than a docstring"
        for node in module.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                yield f"{path} has __all__"
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield from (
                    f"{path} exports {alias.name} again"
                    for alias in node.names
                    if alias.asname == alias.name
                )


def web_writes_no_sql(files: Tree) -> Iterator[str]:
    for path, source in files.items():
        if is_web(path):
            for name in imports(source):
                if is_in(name, ("sqlalchemy", "databases")):
                    yield f"{path} imports {name}"


def web_calls_no_method_of_the_store(files: Tree) -> Iterator[str]:
    for path, source in files.items():
        if is_web(path) and path not in STORE_MODULES:
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Attribute) and is_store(node.value):
                    yield f"{path}:{node.lineno} uses an attribute of the store: .{node.attr}"


def is_store(node: ast.expr) -> bool:
    return (isinstance(node, ast.Attribute) and node.attr == "store") or (
        isinstance(node, ast.Name) and node.id == "store"
    )


def endpoints_do_not_import_each_other(files: Tree) -> Iterator[str]:
    for path, source in files.items():
        if path.startswith(ENDPOINTS):
            yield from (
                f"{path} imports {name}"
                for name in imports(source)
                if name.startswith(("web.endpoints", "product.endpoints"))
            )


def the_first_parameter_is_the_caller(files: Tree) -> Iterator[str]:
    for path, source in files.items():
        if path.startswith(ACCESS):
            for node in ast.parse(source).body:
                if isinstance(node, ast.AsyncFunctionDef) and not node.name.startswith("_"):
                    first = (
                        ast.unparse(node.args.args[0].annotation)
                        if node.args.args
                        else "no parameter"
                    )
                    if first not in CALLERS:
                        yield f"{path}:{node.name} takes {first}"
                    if first == "Store" and f"{path}:{node.name}" not in WITHOUT_VIEWER:
                        yield f"{path}:{node.name} takes a Store, and is not listed in WITHOUT_VIEWER"


def a_change_verifies_the_viewer_again(files: Tree) -> Iterator[str]:
    """The right that was verified for the request may have ended before the transaction begins."""
    for path, source in files.items():
        if path.startswith(ACCESS):
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.AsyncFunctionDef) and node.args.args:
                    viewer = ast.unparse(node.args.args[0].annotation) in CHANGERS
                    text = ast.unparse(node)
                    if viewer and ".transaction(" in text and "require_right(" not in text:
                        yield f"{path}:{node.name} does not verify the viewer in its transaction"


def claims_do_not_give_access_to_data(files: Tree) -> Iterator[str]:
    for path, source in files.items():
        names = list(imports(source))
        if path.startswith(ACCESS) and "db.viewer.Claims" in names:
            yield f"{path} accepts Claims"
        if "db.viewer.issue_viewer" in names and path != "db/sessions/lifecycle.py":
            yield f"{path} issues viewers"


def one_module_creates_each_caller(files: Tree) -> Iterator[str]:
    for path, source in files.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call):
                caller = ast.unparse(node.func).rpartition(".")[2]
                if CREATORS.get(caller, path) != path:
                    yield f"{path}:{node.lineno} creates a {caller}"


def there_is_no_global_database(files: Tree) -> Iterator[str]:
    for path, source in files.items():
        for node in ast.parse(source).body:
            if isinstance(node, ast.Assign) and re.search(
                r"\b(Database|make_store|Store)\(", ast.unparse(node.value)
            ):
                yield f"{path}:{node.lineno} creates a global database"


def one_module_uses_htmx_attributes(files: Tree) -> Iterator[str]:
    for path, source in files.items():
        if (
            is_web(path)
            and path != "web/rendering/responses.py"
            and re.search(r"[\"'<]hx-", code_of(source), re.I)
        ):
            yield f"{path} contains an htmx attribute or header"


def code_of(source: str) -> str:
    """Returns the source without comments and docstrings."""
    module = ast.parse(source)
    for node in ast.walk(module):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            body[0].value.value = ""
    return ast.unparse(module)


def classes_do_not_inherit(files: Tree) -> Iterator[str]:
    project_classes = {
        node.name
        for source in files.values()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
    }
    for path, source in files.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                bases = {ast.unparse(base) for base in node.bases} & project_classes
                if bases and bases != {"AppError"} and (node.name, bases) != ("Admin", {"Viewer"}):
                    yield f"{path}: {node.name} inherits from {bases}"


def module_names_are_specific(files: Tree) -> Iterator[str]:
    for path in files:
        if VAGUE_NAMES & set(Path(path).with_suffix("").parts):
            yield f"{path} has a vague name"


def modules_have_a_docstring(files: Tree) -> Iterator[str]:
    for path, source in files.items():
        if not ast.get_docstring(ast.parse(source)):
            yield f"{path} has no docstring"


def guards_do_not_use_the_host_header(files: Tree) -> Iterator[str]:
    """`request.url` and `base_url` are built from the Host header (CVE-2026-48710)."""
    for path, source in files.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Attribute) and FROM_THE_HOST_HEADER.fullmatch(
                ast.unparse(node)
            ):
                yield f"{path}:{node.lineno} reads {ast.unparse(node)}"


def markup_is_escaped(files: Tree) -> Iterator[str]:
    for path, source in files.items():
        if path.endswith(".py") and re.search(r"\bMarkup\(", source):
            yield f"{path} calls Markup"
        if path.endswith(".html"):
            for pattern in (
                r"\|\s*safe\b",
                r"hx-on",
                r"hx-trigger=\"[^\"]*\[",
                r"\bjs:",
                r"\sstyle=",
                r"\son\w+=",
                r"[\s](?<!data-)hx-",
            ):
                if re.search(
                    pattern, re.sub(r"<hx-partial [^>]*>|\{#.*?#\}", "", source, flags=re.S)
                ):
                    yield f"{path} has {pattern}"


SQL = re.compile(r"[fr]*['\"]+\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b")


def sql_is_never_concatenated(files: Tree) -> Iterator[str]:
    """SQL is built neither by an f-string nor by `+`, `%` or `format`."""
    for path, source in files.items():
        for node in ast.walk(ast.parse(source)):
            is_concatenation = isinstance(node, ast.JoinedStr) or (
                isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod)
            )
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                is_concatenation = node.func.attr == "format"
            if is_concatenation and SQL.match(ast.unparse(node)):
                yield f"{path}:{node.lineno} concatenates SQL"


def a_token_is_never_decoded_without_a_key(files: Tree) -> Iterator[str]:
    """Some libraries skip the verification if the key is None, or use a key from the token."""
    for path, source in files.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call):
                given = [
                    keyword.value for keyword in node.keywords if keyword.arg in ("key", "keys")
                ]
                if re.search(r"\bjw[tse]\.", ast.unparse(node.func)):
                    given += node.args[1:]
                if any(isinstance(value, ast.Constant) and value.value is None for value in given):
                    yield f"{path}:{node.lineno} passes no key"


def a_suppressed_warning_has_a_reason(files: Tree) -> Iterator[str]:
    """A suppressed security warning states its reason in brackets."""
    for path, source in files.items():
        for number, line in enumerate(source.splitlines(), 1):
            if re.search(r"#\s*(noqa:\s*S\d|nosec)", line) and not re.search(
                r"#.*\(\w[^)]+\)", line
            ):
                yield f"{path}:{number} states no reason"


RULES: list[tuple[Callable[[Tree], Iterator[str]], Tree]] = [
    (db_imports_no_http, {"db/x.py": "import starlette.requests"}),
    (db_imports_no_http, {"db/access/x.py": "from web.forms.form import Form"}),
    (web_writes_no_sql, {"web/endpoints/x.py": "from sqlalchemy import select"}),
    (packages_import_only_listed_packages, {"web/endpoints/x.py": "from db.tables import users"}),
    (packages_import_only_listed_packages, {"web/endpoints/x.py": "import db.store"}),
    (
        packages_import_only_listed_packages,
        {"web/endpoints/x.py": "from db.sessions.lifecycle import end_session"},
    ),
    (
        packages_import_only_listed_packages,
        {"web/rendering/x.py": "from db.viewer import Me, Viewer"},
    ),
    (
        packages_import_only_listed_packages,
        {"web/http/x.py": "from web.rendering.responses import page"},
    ),
    (packages_import_only_listed_packages, {"web/app.py": "from web.server.runner import serve"}),
    (
        packages_import_only_listed_packages,
        {"db/access/x.py": "from db.maintenance.pruning import prune"},
    ),
    (
        packages_import_only_listed_packages,
        {"db/rate_limits/buckets.py": "from db.audit.log import record"},
    ),
    (packages_import_only_listed_packages, {"db/sessions/x.py": "from db.accounts import add"}),
    (packages_import_only_listed_packages, {"db/store.py": "from db.tables import users"}),
    (
        packages_import_only_listed_packages,
        {"db/crypto/x.py": "def f():\n    from db import clock"},
    ),
    (packages_import_only_listed_packages, {"db/misplaced.py": ""}),
    (
        modules_do_not_reexport,
        {"db/sessions/__init__.py": "from db.sessions.claims import decode_claims"},
    ),
    (modules_do_not_reexport, {"db/audit/__init__.py": '"""The audit log."""\nX = 1'}),
    (modules_do_not_reexport, {"db/x.py": '__all__ = ["peek"]'}),
    (modules_do_not_reexport, {"db/x.py": "from db.viewer import ClientInfo as ClientInfo"}),
    (
        web_calls_no_method_of_the_store,
        {"web/x.py": "async def f(request): await request.app.state.store.one(A)"},
    ),
    (web_calls_no_method_of_the_store, {"web/x.py": "def f(viewer): return viewer.store.now()"}),
    (
        endpoints_do_not_import_each_other,
        {"web/endpoints/x.py": "from web.endpoints.login import submit"},
    ),
    (endpoints_do_not_import_each_other, {"web/endpoints/x.py": "from web.endpoints import login"}),
    (
        the_first_parameter_is_the_caller,
        {"db/access/x.py": "async def get_all(user_id: str): ..."},
    ),
    (
        the_first_parameter_is_the_caller,
        {"db/access/x.py": "async def get_all(store: Store): ..."},
    ),
    (
        a_change_verifies_the_viewer_again,
        {
            "db/access/x.py": "async def f(viewer: Viewer):\n    async with viewer.store.transaction(): ..."
        },
    ),
    (claims_do_not_give_access_to_data, {"db/access/x.py": "from db.viewer import Claims"}),
    (
        claims_do_not_give_access_to_data,
        {"web/http/session.py": "from db.viewer import issue_viewer"},
    ),
    (
        one_module_creates_each_caller,
        {"web/cli/x.py": "from db import viewer\ncaller = viewer.Operator(store)"},
    ),
    (
        one_module_creates_each_caller,
        {"product/access/x.py": "def f(viewer): return Mailer(viewer.store)"},
    ),
    (
        one_module_creates_each_caller,
        {"product/access/x.py": "def f(viewer): return Sudo(viewer, None, '', object())"},
    ),
    (
        one_module_creates_each_caller,
        {"web/endpoints/x.py": "def f(store): return claimants.Claimant(store)"},
    ),
    (
        the_first_parameter_is_the_caller,
        {"db/access/x.py": "async def get_all(sudo: Sudo[User]): ..."},
    ),
    (
        a_change_verifies_the_viewer_again,
        {
            "db/access/x.py": "async def f(sudo: Sudo[Viewer]):\n    async with sudo.viewer.store.transaction(): ..."
        },
    ),
    (db_imports_no_http, {"product/access/x.py": "from web.forms.form import Form"}),
    (web_writes_no_sql, {"product/endpoints/x.py": "from sqlalchemy import select"}),
    (web_writes_no_sql, {"product/payments.py": "from sqlalchemy import select"}),
    (
        packages_import_only_listed_packages,
        {"product/endpoints/x.py": "from db.tables import users"},
    ),
    (
        packages_import_only_listed_packages,
        {"product/access/x.py": "from web.rendering.responses import page"},
    ),
    (
        packages_import_only_listed_packages,
        {"product/access/x.py": "from product.endpoints.x import show"},
    ),
    (packages_import_only_listed_packages, {"web/app.py": "from product.brand import brand"}),
    (
        web_calls_no_method_of_the_store,
        {"product/endpoints/x.py": "async def f(viewer): await viewer.store.one(A)"},
    ),
    (
        endpoints_do_not_import_each_other,
        {"product/endpoints/x.py": "from product.endpoints.y import show"},
    ),
    (
        endpoints_do_not_import_each_other,
        {"product/endpoints/x.py": "from web.endpoints.login import submit"},
    ),
    (
        the_first_parameter_is_the_caller,
        {"product/access/x.py": "async def get_all(user_id: str): ..."},
    ),
    (
        the_first_parameter_is_the_caller,
        {"product/access/x.py": "async def get_all(store: Store): ..."},
    ),
    (
        a_change_verifies_the_viewer_again,
        {
            "product/access/x.py": "async def f(viewer: Viewer):\n    async with viewer.store.transaction(): ..."
        },
    ),
    (claims_do_not_give_access_to_data, {"product/access/x.py": "from db.viewer import Claims"}),
    (
        claims_do_not_give_access_to_data,
        {"product/endpoints/x.py": "from db.viewer import issue_viewer"},
    ),
    (one_module_uses_htmx_attributes, {"product/endpoints/x.py": "HEADER = 'HX-Request'"}),
    (markup_is_escaped, {"product/partials/x.html": "{{ name|safe }}"}),
    (
        sql_is_never_concatenated,
        {"product/access/x.py": "f'DELETE FROM bookmarks WHERE id = {id}'"},
    ),
    (there_is_no_global_database, {"db/store.py": "database = Database('sqlite:///x')"}),
    (
        one_module_uses_htmx_attributes,
        {"web/x.py": "def f(request): return request.headers['HX-Request']"},
    ),
    (classes_do_not_inherit, {"db/x.py": "class A: ...\nclass B(A): ..."}),
    (module_names_are_specific, {"web/utils.py": ""}),
    (modules_have_a_docstring, {"web/x.py": "a = 1"}),
    (
        guards_do_not_use_the_host_header,
        {"web/middleware/request_limits.py": "def f(request): return request.url.path"},
    ),
    (
        guards_do_not_use_the_host_header,
        {
            "web/middleware/request_limits.py": "def f(scope): return Request(scope, receive).base_url"
        },
    ),
    (markup_is_escaped, {"web/x.py": "Markup('<b>')"}),
    (markup_is_escaped, {"partials/x.html": "{{ name|safe }}"}),
    (markup_is_escaped, {"partials/x.html": '<p style="color: red">'}),
    (markup_is_escaped, {"partials/x.html": '<p data-hx-trigger="click[x]">'}),
    (markup_is_escaped, {"partials/x.html": '<p hx-get="/x">'}),
    (sql_is_never_concatenated, {"db/x.py": "f'SELECT * FROM users WHERE id = {id}'"}),
    (sql_is_never_concatenated, {"db/x.py": "'SELECT * FROM users WHERE id = ' + id"}),
    (sql_is_never_concatenated, {"db/x.py": "'DELETE FROM users WHERE id = %s' % id"}),
    (sql_is_never_concatenated, {"db/x.py": "'DELETE FROM {}'.format(table)"}),
    (
        a_token_is_never_decoded_without_a_key,
        {"db/crypto/key_ring.py": "claims = decode(token, key=None)"},
    ),
    (
        a_token_is_never_decoded_without_a_key,
        {"db/crypto/key_ring.py": "claims = jwt.decode(token, None)"},
    ),
    (a_suppressed_warning_has_a_reason, {"web/x.py": "PASSWORD = 'x'  # noqa: S105"}),
    (a_suppressed_warning_has_a_reason, {"web/x.py": "PASSWORD = 'x'  # nosec B105"}),
]
rules = list(dict.fromkeys(rule for rule, _ in RULES))


@pytest.mark.guide("A26", "D3", "D24")
@pytest.mark.asvs("S112")
@pytest.mark.parametrize("rule", rules, ids=lambda rule: rule.__name__)
def test_the_code_obeys_the_rule(rule: Callable[[Tree], Iterator[str]]) -> None:
    assert (
        list(
            rule(
                tree("web", "db") | tree("partials", suffix=".html")
                if "markup" in rule.__name__
                else tree("web", "db")
            )
        )
        == []
    )


@pytest.mark.parametrize("folder", PRODUCT_FOLDERS)
@pytest.mark.parametrize("rule", rules, ids=lambda rule: rule.__name__)
def test_a_product_obeys_the_rule(rule: Callable[[Tree], Iterator[str]], folder: str) -> None:
    files = product_tree(folder, PRODUCTS[folder])
    if "markup" in rule.__name__:
        files |= product_tree(folder, PRODUCTS[folder], suffix=".html")
    assert list(rule(files)) == []


@pytest.mark.parametrize("folder", PRODUCT_FOLDERS)
def test_each_page_of_a_product_declares_its_access(folder: str) -> None:
    product = load_product(ROOT / folder, PRODUCTS[folder])
    assert all(type(route) is AppRoute for route in product.routes)
    paths = [route.path for route in (*routes, *product.routes)]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize(
    ("rule", "planted"), RULES, ids=lambda value: getattr(value, "__name__", "planted")
)
def test_the_rule_detects_a_planted_violation(
    rule: Callable[[Tree], Iterator[str]], planted: Tree
) -> None:
    assert list(rule(planted))


@pytest.mark.guide("D14")
def test_only_the_server_package_imports_uvicorn() -> None:
    files = tree("web", "db").items()
    importers = {
        path for path, source in files if any(is_in(name, ("uvicorn",)) for name in imports(source))
    }
    assert importers == {"web/server/runner.py", "web/server/timeout_protocol.py"}


def test_only_one_module_imports_the_smtp_client() -> None:
    files = tree("web", "db").items()
    importers = {
        path
        for path, source in files
        if any(is_in(name, ("aiosmtplib", "smtplib")) for name in imports(source))
    }
    assert importers == {"web/mail/smtp.py"}


@pytest.mark.guide("D8", "T5")
def test_every_path_is_routed_once_and_declares_its_access() -> None:
    assert all(
        type(route) is AppRoute and isinstance(route.access, RouteAccess) for route in routes
    )
    assert len({route.path for route in routes}) == len(routes)


def unconfirmed_endpoints(app_routes: list[AppRoute]) -> list[str]:
    """Returns the endpoints of rows with `sudo` that do not verify the confirmation themselves."""
    return [
        f"{method} {route.path}"
        for route in app_routes
        for method, endpoint in route.endpoints.items()
        if route.sudo and (method != "GET" or route.sudo_page)
        if not re.search(
            r"\bverify_sudo_admin\(request\)"
            if route.access is RouteAccess.ADMINS
            else r"\bverify_sudo\(request\)",
            inspect.getsource(endpoint),
        )
    ]


@pytest.mark.asvs("S30")
def test_the_endpoints_of_a_row_with_sudo_verify_the_confirmation() -> None:
    assert unconfirmed_endpoints(routes) == []
    planted = next(route for route in routes if route.name == "admin-users")
    row = Admins("/x", post=planted.endpoints["GET"], name="x", sudo="do something")
    assert unconfirmed_endpoints([row]) == ["POST /x"]


@pytest.mark.guide("D4", "D23", "D25", "T12")
def test_a_statement_selects_exactly_the_fields_of_its_dataclass() -> None:
    for name, statement in statements():
        into = statement.into
        if isinstance(statement.clause, Select) and inspect.isclass(into):
            expected = [field.name for field in fields(into)]
            columns = [column.name for column in statement.clause.selected_columns]
            assert len(columns) == len(expected), name
            assert all(
                column == wanted or column.startswith("anon")
                for column, wanted in zip(columns, expected, strict=True)
            ), name


def statements() -> Iterator[tuple[str, Statement]]:
    from importlib import import_module

    for path in tree("db"):
        module = import_module(path.removesuffix(".py").replace("/", ".").removesuffix(".__init__"))
        yield from (
            (f"{path}:{name}", value)
            for name, value in vars(module).items()
            if isinstance(value, Statement)
        )


def test_every_write_of_name_or_email_writes_the_search_key() -> None:
    written = [
        {getattr(column, "name", column) for column in statement.clause._values or ()}
        for _, statement in statements()
        if isinstance(statement.clause, Insert | Update) and statement.clause.table is users
    ]
    writers = [columns for columns in written if columns & {"name", "email"}]
    assert len(writers) >= 2
    assert [columns for columns in writers if "search_key" not in columns] == []


@pytest.mark.guide("D21")
def test_a_viewer_cannot_be_constructed_directly() -> None:
    with pytest.raises(TypeError, match="may create a viewer"):
        Viewer(*(None for _ in fields(Viewer)))  # type: ignore[arg-type]
