"""Tests of products: how one is loaded, and what each of its files changes.

The product of most tests is tests/example_product, which scripts/new-product copies.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect

from db.access import operator
from db.access.audit import verify_log
from db.audit import log as audit_log
from db.audit.events import EVENT_TEXTS, ProductEvent
from db.audit.log import Actor
from db.tables import metadata
from db.viewer import Operator
from tests.browser_client import PASSWORD, Browser, read
from tests.commands import run_command
from tests.conftest import SECRET, TestApp
from web.brand import LATCHKEY, Brand, InvalidBrand, Landing, Mark, Palette
from web.mail.rendering import MailRenderer
from web.mail.samples import make_samples
from web.menu import MENU, MenuItem, add_items
from web.product import NO_PRODUCT, DashboardCard, Product, load_product
from web.product_checks import ProductError
from web.rendering.assets import load_assets
from web.routes import routes
from web.settings.paths import ROOT

FOLDER = ROOT / "tests" / "example_product"
PACKAGE = "tests.example_product"
NAME = "Bookshelf"


@pytest.fixture(scope="session")
def product() -> Product:
    return load_product(FOLDER, PACKAGE)


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Callable[..., Product]]:
    """Yields a function that writes the files of a product and loads it."""
    package = f"planted_{id(tmp_path)}"

    def write(**modules: str) -> Product:
        folder = tmp_path / "product"
        folder.mkdir()
        (folder / "__init__.py").write_text('"""A planted product."""')
        for name, source in modules.items():
            (folder / f"{name}.py").write_text(source)
        return load_product(folder, package)

    yield write
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[name]


# Loading


def test_without_a_folder_there_is_no_product(tmp_path: Path) -> None:
    assert load_product(tmp_path / "product") is NO_PRODUCT


def test_a_folder_with_modules_needs_its_init_file(tmp_path: Path) -> None:
    (tmp_path / "product").mkdir()
    assert load_product(tmp_path / "product") is NO_PRODUCT
    (tmp_path / "product" / "routes.py").write_text("routes = []")
    with pytest.raises(ProductError, match=r"product/ has no __init__\.py"):
        load_product(tmp_path / "product")


def test_a_dashboard_module_may_have_one_list_only(write: Callable) -> None:
    product = write(
        dashboard="from web.product import DashboardCard\n"
        "admin_cards = [DashboardCard(None, 'dashboard/user.html')]"
    )
    assert (product.user_cards, len(product.admin_cards)) == ((), 1)


def test_every_file_of_a_product_is_optional(write: Callable) -> None:
    product = write()
    assert (product.routes, product.menu, product.brand) == ((), MENU, LATCHKEY)
    assert (product.data.tables, product.data.migrations) == (None, None)


def test_each_file_of_a_product_is_loaded(product: Product) -> None:
    assert [route.name for route in product.routes][:2] == ["bookmarks", "bookmarks-check"]
    assert list(product.data.tables.tables) == ["bookmarks"]
    assert product.data.migrations == FOLDER / "migrations"
    assert "bookmark.add" in product.data.events
    assert product.brand.name == NAME
    assert product.messages["bookmark-added"] == "Bookmark added."


@pytest.mark.parametrize(
    ("modules", "problem"),
    [
        (
            {"routes": "import nothing_has_this_name"},
            "product/routes.py cannot be imported: Module",
        ),
        ({"tables": "metadata = ("}, "product/tables.py cannot be imported: SyntaxError"),
        ({"menu": "items = []"}, "product/menu.py does not define 'menu'"),
        ({"dashboard": "cards = []"}, "product/dashboard.py does not define 'user_cards'"),
        ({"routes": "routes = [1]"}, "product/routes.py: routes[0] is not a row"),
        (
            {"brand": "from web.brand import *\nbrand = Brand(light=Palette(accent='red'))"},
            "product/brand.py: the color accent must be #rrggbb, not 'red'",
        ),
    ],
)
def test_a_mistake_in_a_product_is_one_line_with_its_file(
    write: Callable, modules: dict[str, str], problem: str
) -> None:
    with pytest.raises(ProductError) as raised:
        write(**modules)
    assert str(raised.value).startswith(problem)
    assert "\n" not in str(raised.value)


ROUTE = """
from web.router import Members
async def show(request): ...
routes = [Members({path!r}, get=show, name={name!r})]
"""
EVENT = """
from db.audit.events import EventTexts
EVENTS = {"login": EventTexts("Mine")}
"""
TABLE = """
from sqlalchemy import Column, MetaData, Table, Text
metadata = MetaData()
mine = Table({name!r}, metadata, Column("id", Text, primary_key=True))
"""
PERMISSION = "PERMISSIONS = {{{name!r}: 'Mine'}}"
ITEM = """
from web.menu import MenuItem
menu = [MenuItem(route={route!r}, text="Mine", after={after!r})]
"""
SCOPED = """
from web.router import Members
async def show(request): ...
routes = [Members("/api/mine", get=show, name="mine", scope="mine")]
"""
CARD = """
from web.product import DashboardCard
user_cards = [DashboardCard(None, "mine/card.html")]
"""


@pytest.mark.parametrize(
    ("modules", "problem"),
    [
        ({"permissions": "PERMISSIONS = {'account:read': 'x'}"}, "'account:read' is a scope of"),
        ({"permissions": "PERMISSIONS = {'Mine': 'x'}"}, "'Mine' is not a permission such as"),
        ({"routes": SCOPED}, "GET /api/mine needs the scope 'mine:read', which product/permi"),
        ({"dashboard": CARD}, "there is no partial 'mine/card.html'"),
    ],
)
def test_a_name_that_cannot_work_is_refused_at_the_start(
    write: Callable, modules: dict[str, str], problem: str
) -> None:
    with pytest.raises(ProductError) as raised:
        write(**modules)
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    ("modules", "names"),
    [
        ({"routes": ROUTE.format(path="/mine", name="login")}, ("/mine", "'login'", "/login")),
        ({"routes": ROUTE.format(path="/login", name="mine")}, ("/login", "'mine'", "'login'")),
        ({"routes": ROUTE.format(path="/users/new", name="mine")}, ("/users/new", "/users/{slug}")),
        ({"routes": ROUTE.format(path="/users/{id}", name="mine")}, ("/users/{id}", "'user'")),
        ({"events": EVENT}, ("'login'", "Mine", "Log in")),
        ({"tables": TABLE.format(name="users")}, ("'users'", "Latchkey")),
        ({"tables": TABLE.format(name="product_version")}, ("'product_version'", "Latchkey")),
        ({"permissions": PERMISSION.format(name="admin:write")}, ("'admin:write'", "Latchkey")),
        ({"permissions": PERMISSION.format(name="a:read admin:write")}, ("'a:read admin:write'",)),
        ({"menu": ITEM.format(route="nowhere", after="")}, ("'Mine'", "'nowhere'")),
        ({"menu": ITEM.format(route="user", after="")}, ("'Mine'", "'user'")),
        ({"menu": ITEM.format(route="handbook", after="nowhere")}, ("'nowhere'",)),
    ],
)
def test_a_collision_with_the_program_names_both(
    write: Callable, modules: dict[str, str], names: tuple[str, ...]
) -> None:
    with pytest.raises(ProductError) as raised:
        write(**modules)
    assert all(name in str(raised.value) for name in names), str(raised.value)
    assert "\n" not in str(raised.value)


def test_two_rows_of_a_product_with_one_path_are_refused(write: Callable) -> None:
    source = ROUTE.format(path="/mine", name="mine")
    source += "routes.append(Members('/mine', get=show, name='other'))"
    with pytest.raises(ProductError, match="the path /mine of the route 'other'"):
        write(routes=source)


def test_the_own_tables_stay_apart_from_those_of_the_product(product: Product) -> None:
    assert "bookmarks" not in metadata.tables
    assert set(EVENT_TEXTS).isdisjoint(product.data.events)


def test_the_migrations_of_the_example_create_its_tables(product: Product) -> None:
    from importlib.util import module_from_spec, spec_from_file_location

    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

    engines = [create_engine("sqlite://"), create_engine("sqlite://")]
    for engine in engines:
        metadata.create_all(engine)
    product.data.tables.create_all(engines[0])
    with (
        engines[1].begin() as connection,
        Operations.context(MigrationContext.configure(connection)),
    ):
        for path in sorted((FOLDER / "migrations").glob("*.py")):
            spec = spec_from_file_location("revision", path)
            revision = module_from_spec(spec)
            spec.loader.exec_module(revision)
            revision.upgrade()
    shapes = []
    for engine in engines:
        found = inspect(engine)
        shapes.append(
            [
                [str(column) for column in found.get_columns("bookmarks")],
                found.get_foreign_keys("bookmarks"),
                found.get_unique_constraints("bookmarks"),
            ]
        )
        engine.dispose()
    assert shapes[0] == shapes[1]


# The command line


RUN = """
import sys
from web.cli.main import main
for choice in ("off", "on"):
    code = main(["routes"], {"PRODUCT": choice})
    print(choice, code, file=sys.stderr)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Returns a copy of the program, into which a test puts a product."""
    for folder in ("web", "db"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def print_routes(checkout: Path) -> subprocess.CompletedProcess[str]:
    """Runs `latchkey routes` without and with the product of the copy."""
    command, environ = [sys.executable, "-c", RUN], {"PYTHONPATH": str(checkout)}
    return subprocess.run(command, cwd=checkout, env=environ, capture_output=True, text=True)


def test_the_product_of_new_product_is_loaded_by_convention(checkout: Path) -> None:
    assert create(checkout, "My Shelf").returncode == 0
    done = print_routes(checkout)
    lines = done.stdout.splitlines()
    assert done.stderr.splitlines() == ["off 0", "on 0"]
    assert len(lines) == 2 * len(routes) + 6
    assert "/api/bookmarks" in lines[-1]


def test_a_broken_product_stops_every_command_unless_it_is_off(checkout: Path) -> None:
    (checkout / "product").mkdir()
    (checkout / "product" / "__init__.py").write_text("")
    (checkout / "product" / "routes.py").write_text("def load():\n    import no_such\nload()")
    done = print_routes(checkout)
    off, traceback, *frames, error, on = done.stderr.splitlines()
    assert (off, on) == ("off 0", "on 2")
    assert error == (
        "latchkey: product/routes.py cannot be imported: ModuleNotFoundError: No module named "
        "'no_such'"
    )
    files = [line for line in frames if line.startswith("  File")]
    assert traceback.startswith("Traceback")
    assert [line.split(", ")[1] for line in files] == ["line 3", "line 2"]
    assert all("product/routes.py" in line for line in files)
    assert len(done.stdout.splitlines()) == len(routes)


def test_the_routes_of_the_product_follow_those_of_the_program(product: Product) -> None:
    from web.routes import access_table

    lines = access_table(product.routes).splitlines()
    assert len(lines) == len(routes) + len(product.routes)
    assert lines[-1].split() == [
        *("GET", "/api/bookmarks", "members"),
        f"{PACKAGE}.endpoints.bookmarks.list_as_json",
    ]


def test_commands_load_no_product_if_it_is_off() -> None:
    result = run_command("routes", environ={"PRODUCT": "off"})
    assert (result.returncode, len(result.stdout.splitlines())) == (0, len(routes))


def test_the_setting_product_is_on_or_off() -> None:
    result = run_command("routes", environ={"PRODUCT": "no"})
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "latchkey: PRODUCT: must be on or off, not 'no'\n"


# Pages


async def test_a_page_of_the_product_has_the_layout_and_the_guards(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    page = await alice.get("/bookmarks")
    assert read(page).one("title").text == f"Bookmarks · {NAME}"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    before = app.statements
    answer = await anonymous.get("/bookmarks")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/bookmarks")
    assert app.statements == before


async def test_the_log_in_returns_to_a_page_of_the_product(app: TestApp, alice: Browser) -> None:
    await alice.post("/logout")
    assert (await alice.log_in(next="/bookmarks")).headers["location"] == "/bookmarks"


async def test_a_form_for_a_page_of_the_product_needs_the_same_origin(
    app: TestApp, alice: Browser
) -> None:
    form = {"url": "https://example.com", "title": "Planted"}
    answer = await alice.post("/bookmarks", form, Sec_Fetch_Site="cross-site")
    assert (answer.status_code, await app.count("bookmarks")) == (403, 0)


async def test_the_menu_has_the_items_of_the_role(make_app: Callable, product: Product) -> None:
    items = [
        MenuItem(route="bookmarks", text="Bookmarks", before="account"),
        MenuItem(route="handbook", text="For editors", for_role="editor"),
        MenuItem(route="handbook", text="For admins", for_role="admin"),
    ]
    app = await make_app(product=replace(product, menu=add_items(items)))
    alice, ada = await app.sign_up_user("Alice"), await app.admin("Ada")
    bob = await app.sign_up_user("Bob")
    await operator.create_role(Operator(app.store), "editor", "Editor")
    await app.change_role(bob, "editor")
    menus = [
        [link.text for link in read(await user.get("/bookmarks")).one("nav").all("a")]
        for user in (alice, bob, ada)
    ]
    own = ["Dashboard", "Devices", "Bookmarks", "Account"]
    admins = ["People", "Audit", "For editors", "For admins"]
    assert menus == [own, [*own, "For editors"], [*own, *admins]]
    current = read(await alice.get("/bookmarks")).one("nav").one("a", aria_current="page")
    assert current.text == "Bookmarks"


async def test_each_dashboard_has_its_cards(app: TestApp, alice: Browser, ada: Browser) -> None:
    for user, present, absent in (
        (alice, "Newest bookmarks", "Users with bookmarks"),
        (ada, "Users with bookmarks", "Newest bookmarks"),
    ):
        text = read(await user.get("/dashboard")).one("main").text
        assert (present in text, absent in text) == (True, False)


async def test_a_card_cannot_show_a_viewer(make_app: Callable, product: Product) -> None:
    async def load(viewer: object) -> object:
        return viewer

    card = DashboardCard(load, "bookmarks/card.html")
    app = await make_app(product=replace(product, user_cards=(card,)))
    alice = await app.sign_up_user("Alice")
    assert (await alice.get("/dashboard")).status_code == 500


@pytest.fixture
async def plain(make_app: Callable) -> TestApp:
    """Returns an application without a product."""
    return await make_app(product=NO_PRODUCT)


async def test_without_a_product_the_dashboard_costs_two_statements(plain: TestApp) -> None:
    alice = await plain.sign_up_user("Alice")
    before = plain.statements
    page = read(await alice.get("/dashboard"))
    assert plain.statements == before + 2
    assert page.all(**{"class": "cols cards"}) == []
    assert (await alice.get("/bookmarks")).status_code == 404


# Partials and static files


@pytest.fixture
def folder_product(tmp_path: Path) -> Product:
    """Returns a product with an empty folder for partials and one for static files."""
    for name in ("partials/home", "partials/mail", "static"):
        (tmp_path / "folder" / name).mkdir(parents=True)
    return Product(folder=tmp_path / "folder")


async def test_a_partial_of_the_product_replaces_that_of_the_program(
    make_app: Callable, folder_product: Product
) -> None:
    partials = folder_product.folder / "partials"
    (partials / "home" / "page.html").write_text("<h1>A page of our own</h1>")
    (partials / "home" / "handbook.html").write_text(
        '<p>Read this first.</p>\n{% include "latchkey/home/handbook.html" %}'
    )
    app = await make_app(product=folder_product)
    front = read(await (await app.browser("Charlie")).get("/"))
    assert front.one("h1").text == "A page of our own"
    alice = await app.sign_up_user("Alice")
    handbook = read(await alice.get("/handbook")).one("main").text
    assert handbook.index("Read this first.") < handbook.index("Keep your account safe")


async def test_a_partial_of_the_product_escapes_text(
    make_app: Callable, folder_product: Product
) -> None:
    page = folder_product.folder / "partials" / "home" / "page.html"
    page.write_text("<h1>{{ '<b>' }}</h1>")
    app = await make_app(product=folder_product)
    assert "<h1>&lt;b&gt;</h1>" in (await (await app.browser("Charlie")).get("/")).text


async def test_static_files_of_the_product_are_served_by_their_hash(
    make_app: Callable, folder_product: Product
) -> None:
    static = folder_product.folder / "static"
    (static / "product.css").write_text('p { color: red; content: "a; b" }')
    (static / "font.woff2").write_bytes(b"wOF2")
    (static / "mark.svg").write_text("<svg/>")
    (static / "secret.txt").write_text("not served")
    app = await make_app(product=folder_product)
    charlie = await app.browser("Charlie")
    page = read(await charlie.get("/"))
    styles = [link.attrs["href"] for link in page.all("link", rel="stylesheet")]
    assert [re.sub(r"\.\w{12}\.", ".", path) for path in styles] == [
        "/static/app.css",
        "/static/product.css",
    ]
    assert (await charlie.get(styles[1])).text == 'p{color:red;content:"a; b"}'
    icon = await charlie.get(page.one("link", rel="icon").attrs["href"])
    assert (icon.text, icon.headers["content-type"]) == ("<svg/>", "image/svg+xml")
    font = await charlie.get(app.asgi_app.state.assets.url("font.woff2"))
    assert font.headers["content-type"] == "font/woff2"
    assert "immutable" in font.headers["cache-control"]
    with pytest.raises(KeyError):
        app.asgi_app.state.assets.url("secret.txt")


def test_a_file_that_was_replaced_is_not_served() -> None:
    own = load_assets(LATCHKEY, None, "")
    replaced = load_assets(Brand(light=Palette(accent="#112233")), None, "")
    name = own.url("mark.svg").removeprefix("/static/")
    assert own.find(name) is not None
    assert replaced.find(name) is None
    assert own.stylesheets == ("app.css",)
    assert replaced.stylesheets == ("app.css", "brand.css")


# The brand


async def test_the_brand_is_in_every_place_where_users_see_the_name(
    app: TestApp, anonymous: Browser, alice: Browser
) -> None:
    front = await anonymous.get("/")
    page = read(front)
    assert page.one("title").text == f"Your bookmarks, everywhere · {NAME}"
    assert page.one("h1").text == "Your bookmarks, everywhere."
    assert page.one("meta", name="description").attrs["content"].startswith(f"{NAME} keeps")
    assert page.one("footer").all("p")[0].text == f"Made with {NAME}."
    assert page.one(**{"class": "brand"}).text.strip() == NAME
    document = (await anonymous.get("/api/openapi.json")).json()
    assert document["info"]["title"] == NAME
    assert "/api/bookmarks" in document["paths"]
    fragment = await alice.get_fragment("/devices")
    assert fragment.text.startswith(f"<title>Devices · {NAME}</title>")
    for user, path in (
        (anonymous, "/"),
        (anonymous, "/signup"),
        (anonymous, "/nowhere"),
        (alice, "/dashboard"),
        (alice, "/handbook"),
        (alice, "/nowhere"),
    ):
        assert "Latchkey" not in (await user.get(path)).text


async def test_the_colors_of_the_brand_are_a_stylesheet(app: TestApp, anonymous: Browser) -> None:
    page = read(await anonymous.get("/signup"))
    styles = [link.attrs["href"] for link in page.all("link", rel="stylesheet")]
    assert "/static/brand." in styles[1]
    css = (await anonymous.get(styles[1])).text
    assert "--brass:light-dark(#9fd3c7,#7fc1b2);" in css
    assert "--err:" not in css
    colors = [meta.attrs["content"] for meta in page.all("meta", name="theme-color")]
    assert colors == ["#9fd3c7", "#11141a"]


@pytest.mark.parametrize("mail", make_samples(), ids=lambda mail: mail.message_type)
def test_a_mail_has_the_sender_and_the_colors_of_the_brand(
    app_settings, product: Product, mail
) -> None:
    renderer = MailRenderer(app_settings, product.brand)
    sent = renderer.build(mail)
    assert sent["From"] == f"{NAME} <no-reply@localhost>"
    html = renderer.render(mail).html
    assert "#9fd3c7" in html
    assert "#f5b921" not in html


@pytest.fixture
def app_settings(tmp_path: Path):
    from web.settings.settings import read_settings

    return read_settings({"SESSION_SECRET": SECRET}, data=tmp_path)


def test_a_mail_of_the_product_replaces_that_of_the_program(
    app_settings, folder_product: Product
) -> None:
    partials = folder_product.folder / "partials"
    (partials / "mail" / "verify.txt").write_text("Words of our own\n{{ link }}")
    renderer = MailRenderer(app_settings, LATCHKEY, partials)
    verify, exists = make_samples()[:2]
    assert "Words of our own" in renderer.render(verify).text
    assert "Words of our own" not in renderer.render(exists).text


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"name": ""}, "the name"),
        ({"name": "A\r\nBcc: x"}, "the name"),
        ({"sender_name": "A\nB"}, "the name of the sender"),
    ],
)
def test_an_invalid_name_is_refused(values: dict[str, str], problem: str) -> None:
    with pytest.raises(InvalidBrand, match=problem):
        Brand(**values)


@pytest.mark.parametrize("color", ["red", "#fff", "#12345g", "#123456;}", "", None])
def test_an_invalid_color_is_refused(color: str) -> None:
    with pytest.raises(InvalidBrand, match="accent"):
        Palette(accent=color)


def test_a_mark_that_is_not_a_path_is_refused() -> None:
    with pytest.raises(InvalidBrand, match="SVG path"):
        Mark('M0 0"/><script>')


def test_a_section_without_a_heading_is_left_out() -> None:
    brand = Brand(name="Acorn", landing=Landing(lead="{name} grows."))
    assert brand.landing.lead == "Acorn grows."
    assert brand.footer == "Accounts by Acorn."


async def test_the_name_of_the_brand_is_refused_as_a_password(
    app: TestApp, anonymous: Browser
) -> None:
    fields = {"name": "Dora", "email": "dora@example.com", "password": f"{NAME}-2026"}
    answer = await anonymous.post("/signup", fields)
    assert (answer.status_code, await app.count("users")) == (422, 0)
    assert (await anonymous.post("/signup", fields | {"password": PASSWORD})).status_code == 303


# Events


async def test_events_of_the_product_are_in_the_audit_pages_and_their_filter(
    app: TestApp, alice: Browser, ada: Browser
) -> None:
    title = "\u202eRight to left"
    await alice.post("/bookmarks", {"url": "https://example.com", "title": title})
    activity = await alice.get("/account/activity")
    assert f"You added the bookmark <bdi>{title}</bdi>" in activity.text
    page = read(await ada.get("/admin/audit?event=bookmark.add"))
    (entry,) = page.all(data_entry=True)
    assert entry.attrs["data-event"] == "bookmark.add"
    assert "Add bookmark" in entry.text
    assert page.one("option", value="bookmark.add").attrs["selected"] == ""
    assert (await verify_log(Operator(app.store))).problem == ""


async def test_an_unknown_event_in_the_filter_is_ignored(app: TestApp, ada: Browser) -> None:
    page = read(await ada.get("/admin/audit?event=no-event"))
    assert page.all(data_entry=True)


async def test_an_event_that_nothing_declares_is_not_recorded(app: TestApp) -> None:
    with pytest.raises(ValueError, match=r"bookmark\.burn is not in EVENTS"):
        async with app.store.transaction():
            await audit_log.record(app.store, ProductEvent("bookmark.burn"), Actor("system"))
    assert await app.count("audit") == 0


# scripts/new-product


def create(root: Path, name: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "scripts" / "new-product", name, "--root", root]
    return subprocess.run(command, capture_output=True, text=True)


def test_new_product_copies_the_example_under_its_own_name(tmp_path: Path) -> None:
    assert create(tmp_path, "My Shelf").returncode == 0
    assert 'name="My Shelf"' in (tmp_path / "product" / "brand.py").read_text()
    texts = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "example_product" not in texts
    copied = [path.relative_to(FOLDER) for path in FOLDER.rglob("*") if path.suffix != ".pyc"]
    assert all(
        (tmp_path / "product" / path).exists() for path in copied if path.name != "__pycache__"
    )
    again = create(tmp_path, "Other")
    assert (again.returncode, "exists already" in again.stderr) == (1, True)
    assert 'name="My Shelf"' in (tmp_path / "product" / "brand.py").read_text()


@pytest.mark.parametrize("name", ["", "x" * 41, 'a"b', "a\nb"])
def test_new_product_refuses_an_invalid_name(tmp_path: Path, name: str) -> None:
    assert create(tmp_path, name).returncode == 1
    assert list(tmp_path.iterdir()) == []
