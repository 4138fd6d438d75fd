"""Tests of the languages: the choice for a request, the setting of a user, and the catalogs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from gettext import NullTranslations
from pathlib import Path
from types import ModuleType

import jinja2
import pytest
from jinja2.ext import InternationalizationExtension

from db.messages import Message, UserText
from tests.browser_client import Browser, read, set_cookie_of
from tests.catalog_script import load_catalog_script
from tests.conftest import TestApp
from tests.mail import enabled_outbox, main_text, receive
from web.languages import ENGLISH, LANGUAGES, Language, with_folder
from web.mail.rendering import MailRenderer
from web.mail.samples import make_samples
from web.rendering.local_formats import make_filters
from web.rendering.translation import TranslatingCodeGenerator

ROOT = Path(__file__).parent.parent
# The catalogs that have every text.
COMPLETE: tuple[str, ...] = ("ar", "de")
NOW = datetime(2026, 11, 24, 9, 12, tzinfo=UTC)


def language_of(answer: object) -> tuple[str, str]:
    root = read(answer).one("html")
    return root.attrs["lang"], root.attrs["dir"]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, "en"),
        ("de", "de"),
        ("de-AT", "de"),
        ("DE-at;q=0.8", "de"),
        ("ar-EG,ar;q=0.9,en;q=0.8", "ar"),
        ("en-US,en;q=0.9,de;q=0.8", "en"),
        ("tlh,de;q=0.5,en;q=0.4", "de"),
        ("tlh-CH, tlh", "en"),
        ("de;q=0", "en"),
        ("de;q=0, *;q=0.5", "en"),
        ("*, de;q=0.5", "en"),
        ("en;q=0.1, de ; q=0.2", "de"),
        ("de;q=2", "en"),
        ("de;q=0.1234", "en"),
        ("q=1;de", "en"),
        (",,;;=, de", "de"),
        ("tlh," * 150 + "de", "en"),
    ],
)
async def test_the_browser_chooses_the_language(
    anonymous: Browser, header: str | None, expected: str
) -> None:
    headers = {} if header is None else {"Accept-Language": header}
    answer = await anonymous.get("/login", **headers)
    assert language_of(answer) == (expected, LANGUAGES[expected].direction)
    assert answer.headers["content-language"] == expected


async def test_the_cookie_has_priority_if_it_names_a_language(anonymous: Browser) -> None:
    for cookie, expected in (("ar", "ar"), ("xx", "de"), ("", "de"), ("../ar", "de")):
        answer = await anonymous.get("/login", Cookie=f"language={cookie}", Accept_Language="de")
        assert language_of(answer)[0] == expected, cookie


async def test_pages_and_fragments_have_the_language(alice: Browser, anonymous: Browser) -> None:
    page = await alice.get("/handbook", Accept_Language="ar")
    fragment = await alice.get_fragment("/handbook", Accept_Language="ar")
    assert language_of(page) == ("ar", "rtl")
    assert read(page).one("title").text.startswith("الدليل ·")
    assert read(fragment).one("title").text == read(page).one("title").text
    # The layout and cached pages have a variant for each language.
    for path in ("/account", "/handbook", "/dashboard"):
        for code in ("de", "en", "ar", "de"):
            assert language_of(await alice.get(path, Accept_Language=code))[0] == code
    for code, text in (("de", "Anmelden"), ("en", "Log in"), ("ar", "تسجيل الدخول")):
        front = await anonymous.get("/nowhere", Accept_Language=code)
        assert (front.status_code, language_of(front)[0], text in front.text) == (404, code, True)


async def test_error_pages_have_the_language(alice: Browser, anonymous: Browser) -> None:
    for user, method, path, headers, status in (
        (anonymous, "GET", "/nowhere", {}, 404),
        (anonymous, "PUT", "/login", {}, 405),
        (anonymous, "POST", "/login", {"Sec-Fetch-Site": "cross-site"}, 403),
        (anonymous, "POST", "/login", {"Content-Type": "text/plain"}, 415),
        (alice, "GET", "/admin/users", {}, 403),
        (alice, "GET", "/nowhere", {}, 404),
    ):
        fields = {"email": "a"} if method == "POST" else None
        answer = await user.request(method, path, fields, Accept_Language="de", **headers)
        assert (answer.status_code, language_of(answer)) == (status, ("de", "ltr")), path
    missing = main_text(await anonymous.get("/nowhere", Accept_Language="de"))
    assert "Seite nicht gefunden" in missing and "Zur Startseite" in missing
    refused = await anonymous.post_fragment("/login", {"email": "a"}, Accept_Language="de")
    assert read(refused).one("title").text.startswith("Fehler: ")


async def test_the_api_is_in_english(alice: Browser, anonymous: Browser) -> None:
    for user, path in (
        (alice, "/api/account"),
        (alice, "/api/account/activity"),
        (alice, "/api/nowhere"),
        (anonymous, "/api/account"),
        (anonymous, "/api/session"),
    ):
        english = await user.get(path)
        german = await user.get(path, Accept_Language="de", Cookie="language=ar")
        assert (german.status_code, "content-language" in german.headers) == (
            (await user.get(path, Cookie="language=ar")).status_code,
            False,
        )
        german = await user.get(path, Accept_Language="de")
        assert (german.status_code, german.json()) == (english.status_code, english.json()), path


async def test_a_user_chooses_a_language(alice: Browser, app: TestApp) -> None:
    for send, status, header in (
        (alice.post, 303, "location"),
        (alice.post_fragment, 204, "hx-redirect"),
    ):
        answer = await send("/account/language", {"language": "de"})
        assert (answer.status_code, answer.headers[header]) == (status, "/account")
    page = await alice.get("/account", Accept_Language="ar")
    assert (language_of(page)[0], "Sprache gespeichert." in page.text) == ("de", True)
    [chosen] = read(page).one(id="language").all("option", selected=True)
    assert (chosen.attrs["value"], chosen.text) == ("de", "Deutsch")
    assert await app.rows("SELECT language FROM users") == [("de",)]
    entries = "SELECT count(*) AS n FROM audit WHERE event = 'profile.change'"
    assert await app.rows(entries) == [(1,)]


async def test_an_empty_choice_leaves_the_language_to_the_browser(
    alice: Browser, app: TestApp
) -> None:
    await alice.post("/account/language", {"language": "de"})
    answer = await alice.post("/account/language", {"language": ""}, Accept_Language="ar")
    assert set_cookie_of(answer)["language"]["max-age"] == "0"
    assert language_of(await alice.get("/account", Accept_Language="ar"))[0] == "ar"
    assert await app.rows("SELECT language, browser_language FROM users") == [("", "ar")]


@pytest.mark.parametrize("code", ["xx", "DE", "de ", "../de", "de\0"])
async def test_an_unknown_language_is_refused(alice: Browser, app: TestApp, code: str) -> None:
    for path in ("/account/language", "/language"):
        answer = await alice.post(path, {"language": code})
        assert (answer.status_code, "set-cookie" in answer.headers) == (422, False)
    assert (await alice.post("/language", {})).status_code == 422
    assert await app.rows("SELECT language FROM users") == [("",)]


async def test_the_language_of_another_viewer_is_not_changed(
    alice: Browser, bob: Browser, app: TestApp
) -> None:
    [(alice_id,)] = await app.rows("SELECT id FROM users WHERE name = 'Alice'")
    answer = await bob.post("/account/language", {"language": "de", "viewer": alice_id})
    assert (answer.status_code, "language" in set_cookie_of(answer)) == (409, False)
    assert await app.rows("SELECT DISTINCT language FROM users") == [("",)]


async def test_a_login_brings_the_language_to_another_browser(alice: Browser, app: TestApp) -> None:
    await alice.post("/account/language", {"language": "ar"})
    await alice.post("/logout")
    assert language_of(await alice.get("/login"))[0] == "ar"
    phone = await app.browser("Alice")
    before = app.statements
    answer = await phone.log_in()
    count = app.statements - before
    assert set_cookie_of(answer)["language"].value == "ar"
    assert language_of(await phone.get("/account"))[0] == "ar"
    bob = await app.sign_up_user("Bob")
    other = await app.browser("Bob")
    before = app.statements
    assert "language" not in set_cookie_of(await other.log_in())
    assert app.statements - before == count
    assert language_of(await bob.get("/account"))[0] == "en"


async def test_the_language_cookie_is_limited_to_this_host(make_app: Callable) -> None:
    app = await make_app(BASE_URL="https://example.com")
    alice = await app.sign_up_user("Alice")
    answer = await alice.post("/account/language", {"language": "de"})
    [cookie] = [
        line for line in answer.headers.get_list("set-cookie") if line.startswith("__Host-language")
    ]
    assert cookie == (
        "__Host-language=de; Max-Age=31536000; Path=/; HttpOnly; SameSite=Lax; Secure"
    )


@pytest.mark.parametrize(
    ("referer", "target"),
    [
        ("/login?next=/devices", "/login?next=/devices"),
        ("/", "/"),
        ("/signup?next=%2Fdevices", "/signup?next=%2Fdevices"),
        ("//evil.example/", "/"),
        ("//evil.example/login", "/"),
        ("/nowhere", "/"),
        ("/users/alice", "/"),
        ("/logout", "/"),
        ("https://evil.example/login", "/"),
        ("/login?a=%0d%0aSet-Cookie:x", "/login?a=%0d%0aSet-Cookie:x"),
    ],
)
async def test_a_browser_without_a_session_chooses_a_language(
    app: TestApp, anonymous: Browser, referer: str, target: str
) -> None:
    page = read(await anonymous.get("/login"))
    [form] = [form for form in page.all("form") if form.attrs.get("action") == "/language"]
    assert [button.attrs["value"] for button in form.all("button")] == list(LANGUAGES)
    url = referer if "://" in referer else f"{app.settings.base_url}{referer}"
    answer = await anonymous.post("/language", {"language": "ar"}, Referer=url)
    assert (answer.status_code, answer.headers["location"]) == (303, target)
    assert language_of(await anonymous.get("/login", Accept_Language="de")) == ("ar", "rtl")


async def test_another_site_cannot_choose_the_language(anonymous: Browser) -> None:
    answer = await anonymous.post(
        "/language", {"language": "ar"}, **{"Sec-Fetch-Site": "cross-site"}
    )
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


async def test_mails_have_the_language_of_their_user(make_app: Callable) -> None:
    app = await make_app(mail=enabled_outbox())
    renderer: MailRenderer = app.asgi_app.state.mail_renderer
    alice = await app.sign_up_user("Alice", headers={"Accept-Language": "de"})
    verify = renderer.render(await receive(app, "verify"))
    assert verify.subject == "Bestätigen Sie Ihre E-Mail-Adresse"
    assert '<html lang="de" dir="ltr">' in verify.html
    assert "25. November 2026, 09:12 UTC" in verify.text
    await alice.post("/account/language", {"language": "ar"})
    await app.change("UPDATE users SET verified_at = created_at")
    phone = await app.browser("Alice", headers={"Accept-Language": "en"})
    await phone.log_in()
    notice = renderer.render(await receive(app, "new-device"))
    assert notice.subject == "تسجيل دخول جديد إلى حسابك"
    assert '<html lang="ar" dir="rtl">' in notice.html
    assert "24 نوفمبر 2026، 09:12 UTC" in notice.text


async def test_an_invitation_has_the_language_of_its_administrator(make_app: Callable) -> None:
    app = await make_app(mail=enabled_outbox())
    ada = await app.admin()
    fields = {"email": "grace@example.com", "role": "user"}
    await ada.post("/admin/invitations", fields, Accept_Language="ar")
    content = app.asgi_app.state.mail_renderer.render(await receive(app, "invite"))
    assert 'dir="rtl"' in content.html


async def test_every_mail_can_be_rendered_in_every_language(app: TestApp) -> None:
    renderer = MailRenderer(app.settings)
    for code in LANGUAGES:
        for sample in make_samples(code):
            content = renderer.render(sample)
            assert f'lang="{code}"' in content.html
            assert sample.recipient in content.text


# Formats


def test_times_and_numbers_have_the_format_of_the_language() -> None:
    formats = {code: make_filters(LANGUAGES[code]) for code in ("en", "de", "ar")}
    english, german, arabic = formats["en"], formats["de"], formats["ar"]
    year, minutes = NOW - timedelta(days=400), NOW - timedelta(minutes=59)
    assert [english["when"](NOW, NOW), english["when"](year, NOW)] == [
        "today at 09:12 UTC",
        "20 Oct 2025, 09:12 UTC",
    ]
    assert [german["when"](NOW, NOW), german["when"](year, NOW)] == [
        "heute um 09:12 UTC",
        "20. Okt. 2025, 09:12 UTC",
    ]
    assert [german["ago"](minutes, NOW), arabic["ago"](minutes, NOW)] == [
        "vor 59 Minuten",
        "قبل 59 دقيقة",
    ]
    assert [german["ago"](NOW, NOW), german["ago"](NOW - timedelta(days=1), NOW)] == [
        "gerade eben",
        "gestern",
    ]
    assert [each["number"](12_345) for each in formats.values()] == ["12,345", "12.345", "12,345"]
    assert [each["date"](NOW) for each in formats.values()] == [
        "24 November 2026",
        "24. November 2026",
        "24 نوفمبر 2026",
    ]
    assert [each["duration"](timedelta(hours=2)) for each in formats.values()] == [
        "2 hours",
        "2 Stunden",
        "ساعتين",
    ]


# Translations in templates and messages


class Catalog(NullTranslations):
    """A catalog with these translations."""

    def __init__(self, texts: dict[str, str]) -> None:
        super().__init__()
        self.texts = texts

    def gettext(self, message: str) -> str:
        return self.texts.get(message, message)

    def ngettext(self, one: str, many: str, count: int) -> str:
        return self.gettext(one if count == 1 else many)


def render(source: str, texts: dict[str, str], **values: object) -> str:
    language = Language("en", "English", "en-GB", catalog=Catalog(texts))
    env = jinja2.Environment(extensions=[InternationalizationExtension], autoescape=True)
    env.code_generator_class = TranslatingCodeGenerator
    env.install_gettext_translations(language, newstyle=True)
    env.policies["ext.i18n.trimmed"] = True
    env.globals["language"] = language
    return env.from_string(source).render(values)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('{{ _("Save") }}', "Sichern"),
        ('<a title="{{ _("Save") }}">', '<a title="Sichern">'),
        ('{{ _("Save") ~ name }}', "Sichern&lt;b&gt;"),
        ('{% set x = _("Save") %}{{ x }}{{ x|lower }}', "Sichernsichern"),
        ('{{ _("<i>Old</i>") }}', "<i>Alt</i>"),
        ('{{ _("<i>Old</i>") ~ name }}', "<i>Alt</i>&lt;b&gt;"),
        ("{% trans %}Hello, <i>{{ name }}</i>.{% endtrans %}", "<i>&lt;b&gt;</i>: hallo."),
        ("{% trans who=name %}Dear\n  {{ who }}{% endtrans %}", "Guten Tag, &lt;b&gt;"),
        ('{{ _("Dear %(who)s", who=name) }}', "Guten Tag, &lt;b&gt;"),
        ('{% set x = _("Dear %(who)s", who=name) %}{{ x }}', "Guten Tag, &lt;b&gt;"),
        ("{% trans %}100 % of {{ name }}{% endtrans %}", "100 % von &lt;b&gt;"),
        ('{% macro m(t) %}<p>{{ t }}</p>{% endmacro %}{{ m(_("Save")) }}', "<p>Sichern</p>"),
        ("{% trans n=2 %}One{% pluralize %}{{ n }} of {{ name }}{% endtrans %}", "2 von &lt;b&gt;"),
        ("{% trans %}Not in the catalog{% endtrans %}", "Not in the catalog"),
    ],
)
def test_a_template_is_translated_and_its_values_are_escaped(source: str, expected: str) -> None:
    texts = {
        "Save": "Sichern",
        "<i>Old</i>": "<i>Alt</i>",
        "Hello, <i>%(name)s</i>.": "<i>%(name)s</i>: hallo.",
        "Dear %(who)s": "Guten Tag, %(who)s",
        "100 %% of %(name)s": "100 %% von %(name)s",
        "%(n)s of %(name)s": "%(n)s von %(name)s",
    }
    assert render(source, texts, name="<b>") == expected


def test_a_translation_cannot_contain_template_syntax() -> None:
    hostile = "{{ secret }}{% for x in y %}{# #}{%"
    texts = {"Save": hostile, "Hello, %(name)s": f"{hostile}%(name)s"}
    values = {"name": "{{ secret }}", "secret": "canary"}
    assert render('{{ _("Save") }}', texts, **values) == hostile
    assert render("{% trans %}Hello, {{ name }}{% endtrans %}", texts, **values) == (
        f"{hostile}{{{{ secret }}}}"
    )


@pytest.mark.parametrize("wrong", ["%(other)s", "%(name)s %(secret)s", "{other}"])
def test_a_wrong_placeholder_leaves_the_text_in_english(wrong: str) -> None:
    texts = {"Hello, %(name)s": wrong, "Hello, {name}": wrong}
    rendered = render("{% trans %}Hello, {{ name }}{% endtrans %}", texts, name="A", secret="B")
    assert rendered in ("Hello, A", "{other}")
    language = Language("en", "English", "en-GB", catalog=Catalog(texts))
    message = Message("Hello, {name}").format(name="A")
    assert message.in_language_of(language) in ("Hello, A", wrong)


def test_a_message_is_translated_with_its_values() -> None:
    texts = {"Wait {time}": "Warten Sie {time}", "{count} days": "{count} Tage", "A": "B"}
    language = Language("de", "Deutsch", "de", catalog=Catalog(texts))
    days = Message.plural("{count} day", "{count} days", 1_234)
    message = Message("Wait {time}").format(time=days)
    assert (message, message.in_language_of(language)) == (
        "Wait 1,234 days",
        "Warten Sie 1.234 Tage",
    )
    assert Message("Wait {time}").format(time=UserText("A")).in_language_of(language) == (
        "Warten Sie A"
    )
    assert Message("").in_language_of(LANGUAGES["de"]) == ""


def test_a_product_replaces_and_adds_texts(tmp_path: Path) -> None:
    path = tmp_path / "de" / "LC_MESSAGES" / "messages.po"
    path.parent.mkdir(parents=True)
    path.write_text(
        'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\n'
        'msgid "Log in"\nmsgstr "Einloggen"\n\nmsgid "Bookmarks"\nmsgstr "Lesezeichen"\n'
    )
    german = with_folder(tmp_path)["de"]
    assert [german.gettext(text) for text in ("Log in", "Bookmarks", "Log out", "No text")] == [
        "Einloggen",
        "Lesezeichen",
        "Abmelden",
        "No text",
    ]
    assert with_folder(tmp_path)["en"].gettext("Log in") == "Log in"
    assert with_folder(None)["en"] is ENGLISH


# The catalogs


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_catalog_script()


def test_the_catalogs_have_the_texts_of_the_program(script: ModuleType) -> None:
    texts = script.find_texts()
    paths = script.catalogs_of(script.PROGRAM)
    assert {path.parts[-3] for path in paths} == LANGUAGES.keys() - {"en"}
    for path in paths:
        code, known = path.parts[-3], path.read_text()
        assert script.render(code, texts, script.read_catalog(path)) == known, (
            "run .venv/bin/python scripts/messages"
        )


def test_translations_have_the_placeholders_and_the_html_of_their_texts(
    script: ModuleType,
) -> None:
    texts = script.find_texts()
    for path in script.catalogs_of(script.PROGRAM):
        code = path.parts[-3]
        problems = list(script.find_problems(code, texts, script.read_catalog(path)))
        wrong = [line for line in problems if ": no translation: " not in line]
        assert (problems if code in COMPLETE else wrong) == []


@pytest.mark.parametrize(
    ("text", "translation"),
    [
        (("Hello, %(name)s",), "Hallo"),
        (("Hello, %(name)s",), "Hallo, %(name)s %(secret)s"),
        (("Try in {wait}.",), "Noch {warten}."),
        (("One of %(name)s", "%(count)s of %(name)s"), "%(count)s"),
        (("<b>Old</b>",), "<b>Alt"),
        (("<b>Old</b>",), '<b class="x">Alt</b>'),
        (("Old",), "<script>"),
        (("Old",), 'Das "Alte"'),
        (("%(count)s of all",), "%(count)s %"),
        ((" old",), "alt"),
    ],
)
def test_the_check_finds_a_wrong_translation(
    script: ModuleType, text: tuple[str, ...], translation: str
) -> None:
    assert list(script.compare(text, translation))
    assert list(script.compare(text, text[-1])) == []


def test_a_catalog_has_the_plural_forms_of_its_header(script: ModuleType) -> None:
    # Babel counts three forms in French.
    text = {("{count} device", "{count} devices"): {"web/x.py"}}
    content = script.render("fr", text, script.Catalog(locale="fr"))
    assert "nplurals=2" in content
    assert "msgstr[1]" in content
    assert "msgstr[2]" not in content


def test_the_catalog_of_a_product_keeps_the_translations_that_it_replaces(
    script: ModuleType, tmp_path: Path
) -> None:
    path = tmp_path / "messages.po"
    path.write_text('msgid "Devices"\nmsgstr "Meine Geräte"\n\nmsgid "Gone"\nmsgstr "Weg"\n')
    catalog = script.read_catalog(path)
    assert set(script.find_replaced(script.PRODUCT, catalog)) == {("Devices",)}
    assert script.find_replaced(script.PROGRAM, catalog) == {}


def test_the_extraction_finds_the_texts_of_a_module_and_of_a_template(script: ModuleType) -> None:
    source = 'A = Message("One")\nB = Message.plural("1 day", "{count} days", n)\nMessage(A)\n'
    assert list(script.texts_of_module("x.py", source)) == [("One",), ("1 day", "{count} days")]
    env = jinja2.Environment(extensions=[InternationalizationExtension])
    source = (
        '{{ _("One") }}{{ "Two"|tr }}{{ three|tr }}{% trans %}Four {{ x }}{% endtrans %}'
        "{% trans n=x %}Five{% pluralize %}{{ n }}{% endtrans %}"
    )
    assert set(script.texts_of_template(env.parse(source))) == {
        ("One",),
        ("Two",),
        ("Four %(x)s",),
        ("Five", "%(n)s"),
    }
