"""Tests of the settings: their defaults, their formats, and the values that prevent a start."""

import os
import re
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from tests.conftest import SECRET
from web.settings.environment import Environment, InvalidSetting
from web.settings.paths import ROOT
from web.settings.server_settings import ServerSettings, read_server_settings
from web.settings.settings import Settings, read_settings, require_resolvable_host

NOBODY_UID = 65534
PUBLIC = {
    "BASE_URL": "https://example.com",
    "SESSION_SECRET": SECRET,
    "SMTP_URL": "smtp://localhost",
    "MAIL_FROM": "mail@example.com",
}


def secret_file(path: Path, mode: int) -> Path:
    path.write_text(SECRET)
    path.chmod(mode)
    return path


@pytest.fixture
def read(tmp_path: Path):
    def read(**environ: str) -> Settings:
        return read_settings(environ, data=tmp_path)

    return read


@pytest.mark.guide("B4", "B5")
def test_a_local_secret_is_generated_once_with_private_file_permissions(
    read, tmp_path: Path
) -> None:
    first, second = read(), read()
    secret_path = tmp_path / "session_secret"
    assert (
        secret_path.read_text().encode()
        == first.session_secrets[0].reveal()
        == second.session_secrets[0].reveal()
    )
    assert stat.S_IMODE(secret_path.stat().st_mode) == 0o600
    assert "created a session secret" in first.notices[0]
    assert not second.notices


@pytest.mark.guide("B4")
@pytest.mark.asvs("S39")
@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        ("", "is not set"),
        ("short", "at least 32 bytes"),
        ("x" * 31, "at least 32 bytes"),
        ("your_secret_key_your_secret_key_your_secret_key", "placeholder"),
        ("abcabcabcabcabcabcabcabcabcabcabcabcabc", "is too weak"),
        (f"{SECRET},short", "at least 32 bytes"),
        (f"{SECRET},{SECRET}", "twice"),
    ],
)
def test_a_weak_secret_is_refused_outside_localhost(read, secret: str, problem: str) -> None:
    with pytest.raises(InvalidSetting, match=f"^SESSION_SECRET: .*{problem}"):
        read(**PUBLIC | {"SESSION_SECRET": secret})


def test_several_secrets_are_read_in_their_order(read) -> None:
    other = SECRET[::-1]
    secrets = read(**PUBLIC | {"SESSION_SECRET": f"{SECRET},{other}"}).session_secrets
    assert [secret.reveal() for secret in secrets] == [SECRET.encode(), other.encode()]


@pytest.mark.guide("B5")
@pytest.mark.asvs("S96")
def test_a_secret_is_read_from_a_private_file(read, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    settings = read(BASE_URL="https://example.com", SESSION_SECRET_FILE=str(path))
    assert settings.session_secrets[0].reveal() == SECRET.encode()


@pytest.mark.asvs("S96")
@pytest.mark.parametrize("mode", [0o644, 0o444, 0o604, 0o004])
def test_a_secret_file_that_others_can_read_is_refused(read, tmp_path: Path, mode: int) -> None:
    path = secret_file(tmp_path / "secret", mode)
    if mode & 0o400 or os.geteuid() == 0:
        with pytest.raises(InvalidSetting, match=r"^SESSION_SECRET_FILE: other users can read"):
            read(BASE_URL="https://example.com", SESSION_SECRET_FILE=str(path))


@pytest.mark.asvs("S96")
@pytest.mark.parametrize("mode", [0o622, 0o620, 0o602, 0o660, 0o666])
def test_a_secret_file_that_others_can_write_is_refused(read, tmp_path: Path, mode: int) -> None:
    path = secret_file(tmp_path / "secret", mode)
    with pytest.raises(InvalidSetting, match=r"^SESSION_SECRET_FILE: other users can write"):
        read(BASE_URL="https://example.com", SESSION_SECRET_FILE=str(path))
    with pytest.raises(InvalidSetting, match=r"^SESSION_SECRET_FILE: other users can write"):
        Environment({"SESSION_SECRET_FILE": str(path)}, mounted_secrets=tmp_path).secret(
            "SESSION_SECRET"
        )


@pytest.mark.asvs("S96")
@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o640])
def test_a_secret_file_that_its_group_can_read_is_accepted(read, tmp_path: Path, mode: int) -> None:
    """Kubernetes with fsGroup mounts a secret as a link to a file of mode 0440."""
    secret_file(tmp_path / "..data", mode)
    (tmp_path / "secret").symlink_to("..data")
    settings = read(BASE_URL="https://example.com", SESSION_SECRET_FILE=str(tmp_path / "secret"))
    assert settings.session_secrets[0].reveal() == SECRET.encode()


@pytest.mark.asvs("S96")
@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can make a file of root that another user may read by ACL"
)
def test_a_systemd_credential_is_read_by_the_user_in_its_acl(read, tmp_path: Path) -> None:
    """Creates the file as systemd does: owned by root with mode 0440.

    The group bits of the mode are the mask of an ACL entry for the user of the service.
    """
    path = secret_file(tmp_path / "secret", 0o400)
    entries = [
        (0x01, 4, 0xFFFFFFFF),
        (0x02, 4, NOBODY_UID),
        (0x04, 0, 0xFFFFFFFF),
        (0x10, 4, 0xFFFFFFFF),
    ]
    entries.append((0x20, 0, 0xFFFFFFFF))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", acl)
    except OSError as error:
        pytest.skip(f"this file system has no ACLs: {error}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o440
    settings = read(BASE_URL="https://example.com", SESSION_SECRET_FILE=str(path))
    assert settings.session_secrets[0].reveal() == SECRET.encode()


@pytest.mark.asvs("S96")
def test_a_mounted_secret_that_others_can_read_causes_a_warning(tmp_path: Path) -> None:
    (tmp_path / "mounted").mkdir()
    env = Environment(
        {"X_FILE": str(secret_file(tmp_path / "mounted" / "x", 0o444))},
        mounted_secrets=tmp_path / "mounted",
    )
    assert env.secret("X").reveal() == SECRET
    assert [notice.startswith("warning: X_FILE: ") for notice in env.notices] == [True]


@pytest.mark.asvs("S96")
@pytest.mark.parametrize("name", ["mounted/../x", "mounted/link", "mounted/folder/x"])
def test_a_path_outside_the_mounted_secrets_is_refused(tmp_path: Path, name: str) -> None:
    secret_file(tmp_path / "x", 0o644)
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted" / "link").symlink_to(tmp_path / "x")
    (tmp_path / "mounted" / "folder").symlink_to(tmp_path)
    env = Environment({"X_FILE": f"{tmp_path}/{name}"}, mounted_secrets=tmp_path / "mounted")
    with pytest.raises(InvalidSetting, match=r"^X_FILE: other users can read"):
        env.secret("X")


def test_whitespace_around_a_secret_is_removed(read, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/latchkey.db"
    assert read(DATABASE_URL=f"  {url}\t\n").database_url.reveal() == url
    path = tmp_path / "url"
    path.touch(0o600)
    path.write_text(f" {url} \r\n\n")
    assert read(DATABASE_URL_FILE=str(path)).database_url.reveal() == url
    path.write_text(" \n")
    with pytest.raises(InvalidSetting, match=r"^DATABASE_URL_FILE: .*is empty"):
        read(DATABASE_URL_FILE=str(path))


def comparable_settings(settings: Settings, server_settings: ServerSettings) -> tuple[object, ...]:
    """Returns all settings as comparable values, because secrets are never equal."""
    secrets = (settings.database_url, *settings.session_secrets, server_settings.metrics_token)
    return repr(settings), repr(server_settings), [secret and secret.reveal() for secret in secrets]


def example_lines() -> dict[str, str]:
    """Returns the settings of .env.example, including those that are commented out."""
    return dict(
        re.findall(r"^#?([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    )


def test_an_empty_setting_has_its_default(read) -> None:
    read()  # The first call generates the secret, which adds a notice.
    default = comparable_settings(read(), read_server_settings({}))
    assert len(example_lines()) >= 19
    for name in example_lines():
        for empty in ("", "  "):
            environ = {name: empty, f"{name}_FILE": empty}
            assert comparable_settings(read(**environ), read_server_settings(environ)) == default, (
                name
            )


def test_the_example_lists_every_setting() -> None:
    sources = [path.read_text() for path in (ROOT / "web").rglob("*.py")]
    read_by_name = {
        name
        for source in sources
        for name in re.findall(r'(?:env\.\w+\(|\(env,)\s*"([A-Z_]+)"', source)
    }
    # Every limit has a variable, of which the example has one.
    assert read_by_name | {"LIMIT_SIGNUP_HOUR"} == example_lines().keys()


@pytest.mark.parametrize("name", [None, *example_lines()])
def test_each_commented_line_of_the_example_sets_the_default(
    read, tmp_path: Path, name: str | None
) -> None:
    """Tests each line alone and, for None, all lines at once, as /bin/sh reads them."""
    text = (ROOT / ".env.example").read_text()
    path = tmp_path / ".env"
    path.write_text(re.sub(rf"^#({name or '[A-Z_]+'}=)", r"\1", text, flags=re.MULTILINE))
    shell = subprocess.run(
        ["/bin/sh", "-c", "set -eua; . ./.env; env"],
        cwd=tmp_path,
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    environ = dict(
        line.split("=", 1)
        for line in shell.stdout.splitlines()
        if line.split("=")[0] in example_lines()
    )
    read()
    assert environ.get(name or "PORT") == example_lines()[name or "PORT"]
    assert comparable_settings(
        read(**environ), read_server_settings(environ)
    ) == comparable_settings(read(), read_server_settings({}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("BASE_URL", "example.com"),
        ("BASE_URL", "ftp://example.com"),
        ("BASE_URL", "https://example.com/path"),
        ("BASE_URL", "https://me:secret@example.com"),
        ("BASE_PATH", "accounts"),
        ("BASE_PATH", "/accounts/"),
        ("BASE_PATH", "/"),
        ("BASE_PATH", "//accounts"),
        ("BASE_PATH", "/a//b"),
        ("BASE_PATH", "/a/../b"),
        ("BASE_PATH", "/."),
        ("BASE_PATH", "/a b"),
        ("BASE_PATH", "/%61"),
        ("BASE_PATH", "/a?b"),
        ("BASE_PATH", "/a#b"),
        ("BASE_PATH", "/bücher"),
        ("BASE_PATH", "/{{x}}"),
        ("BASE_PATH", "https://example.com/accounts"),
        ("BASE_PATH", "/" + "a" * 200),
        ("DATABASE_URL", "sqlite://nowhere"),
        ("DATABASE_URL", "sqlite:////no/such/folder/latchkey.db"),
        ("DATABASE_URL", "mysql://localhost/latchkey"),
        ("DATABASE_URL", "postgresql://localhost:port/latchkey"),
        ("DATABASE_URL", "postgresql://localhost/"),
        ("DATABASE_URL", "postgresql://me:pass/word@localhost/latchkey"),
        ("DATABASE_URL", "postgresql://me:p@ss@localhost/latchkey"),
        ("DATABASE_URL", "postgresql://localhost/latchkey?max_size=many"),
        ("DATABASE_URL", "sqlite:////tmp/latchkey.db?mode=ro"),
        ("DATABASE_URL", "sqlite:////tmp/latch#key.db"),
        ("HSTS", "on"),
        ("HSTS_MAX_AGE", "-1"),
        ("HSTS_MAX_AGE", "a year"),
        ("HSTS_MAX_AGE", "731d"),
        ("CSP_IMG_SRC", "*"),
        ("CSP_IMG_SRC", "http://cdn.example.com"),
        ("CSP_IMG_SRC", "https://*.example.com"),
        ("CSP_IMG_SRC", "https://cdn.example.com/path"),
        ("CSP_IMG_SRC", "https://cdn.example.com/"),
        ("CSP_IMG_SRC", "https://cdn.example.com?"),
        ("CSP_IMG_SRC", "https://me@cdn.example.com"),
        ("CSP_IMG_SRC", "https://cdn.example.com; script-src *"),
        ("CSP_IMG_SRC", "https://cdn.example.com;"),
        ("CSP_IMG_SRC", "https://a.example https://b.example"),
        ("CSP_IMG_SRC", "https://a.example\r\nX-Injected: 1"),
        ("CSP_IMG_SRC", "https://a.example:port"),
        ("CSP_IMG_SRC", "https:"),
        ("CSP_IMG_SRC", "'self'"),
        ("CSP_IMG_SRC", "blob:"),
        ("CSP_SCRIPT_SRC", "'unsafe-inline'"),
        ("CSP_SCRIPT_SRC", "'unsafe-eval'"),
        ("CSP_SCRIPT_SRC", "unsafe-inline"),
        ("CSP_SCRIPT_SRC", "data:"),
        ("CSP_FONT_SRC", "data:"),
        ("MAX_BODY", "15k"),
        ("MAX_BODY", "11m"),
        ("MAX_BODY", "64 KiB"),
        ("MAX_BODY", "1g"),
        ("SESSION_STRATEGY", "both"),
        ("SESSION_COOKIE", "plain"),
        ("SIGNUP_PRIVACY", "secret"),
        ("PASSWORD_POLICY", "none"),
        ("RATE_LIMITS", "on"),
        ("WEB_CONCURRENCY", "-1"),
        ("TRUSTED_PROXIES", "proxy.example.com"),
        ("HOST", "not a host"),
        ("HOST", "999.1.1.1"),
        ("EMAIL_VERIFICATION", "always"),
        ("SESSION_SECRET_FILE", "/no/such/file"),
    ],
)
def test_a_malformed_value_is_refused_with_the_name_of_its_variable(
    read, name: str, value: str
) -> None:
    with pytest.raises(InvalidSetting, match=f"^{name}: ") as refused:
        read(**{name: value})
    assert "\n" not in str(refused.value)


def test_a_host_name_that_does_not_resolve_is_refused(read) -> None:
    require_resolvable_host(read())
    assert read(HOST="web1").host == "web1"
    with pytest.raises(InvalidSetting, match=r"^HOST: cannot listen on nobody.invalid"):
        require_resolvable_host(read(HOST="nobody.invalid"))


@pytest.mark.asvs("S109")
def test_plain_http_on_a_public_interface_causes_a_warning(read) -> None:
    read()  # The first call generates the secret, which adds a notice.
    assert read(HOST="0.0.0.0").notices == (
        "warning: HOST: 0.0.0.0 is open to other machines, and BASE_URL is plain http",
    )
    assert (
        read(HOST="127.0.0.1").notices == read(HOST="::1").notices == read(**PUBLIC).notices == ()
    )


@pytest.mark.parametrize(
    ("base_url", "origin"),
    [
        ("https://Example.COM", "https://example.com"),
        ("https://example.com:443", "https://example.com"),
        ("HTTPS://example.com:8443/", "https://example.com:8443"),
        ("http://localhost:80", "http://localhost"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://BÜCHER.example", "https://xn--bcher-kva.example"),
        ("http://[0:0:0:0:0:0:0:1]:8111", "http://[::1]:8111"),
    ],
)
def test_the_base_url_is_normalized_as_browsers_write_an_origin(
    read, base_url: str, origin: str
) -> None:
    assert read(BASE_URL=base_url, SESSION_SECRET=SECRET).base_url == origin


@pytest.mark.parametrize("path", ["", "/accounts", "/a/b", "/A.b_c~d-9", "/.hidden", "/..."])
def test_the_base_path_is_part_of_the_public_url(read, path: str) -> None:
    settings = read(BASE_PATH=path)
    assert settings.base_path == path
    assert settings.public_url == f"http://localhost:8000{path}"


@pytest.mark.parametrize(
    "url",
    [
        "https://exa mple.com",
        "https://a..b",
        "https://[zz]",
        "https://\u200b",
        "https://-a",
        "https://a.",
        "https://127.1",
        "https://0x7f.1",
        "https://@a.example",
    ],
)
def test_a_base_url_without_a_valid_host_is_refused(read, url: str) -> None:
    with pytest.raises(InvalidSetting, match=r"^BASE_URL: "):
        read(BASE_URL=url, SESSION_SECRET=SECRET)


@pytest.mark.asvs("S109")
def test_plain_http_is_accepted_only_for_localhost(read) -> None:
    for url in ("http://localhost:8000", "http://127.0.0.1:8000", "http://app.localhost"):
        assert read(BASE_URL=url).host == "127.0.0.1"
    assert read(BASE_URL="http://[::1]:8000").host == "::1"
    with pytest.raises(InvalidSetting, match=r"^BASE_URL: must be https"):
        read(BASE_URL="http://example.com", SESSION_SECRET=SECRET)
    assert read(**PUBLIC).host == "0.0.0.0"


@pytest.mark.asvs("S96")
def test_a_malformed_database_url_is_refused_without_its_password(read) -> None:
    for url in (
        "postgresql://me:hush@word@host/x",
        "postgresql://me:hush/1@host/x",
        "postgresql://me:hush@host/x?max_size=a",
    ):
        with pytest.raises(InvalidSetting) as refused:
            read(DATABASE_URL=url)
        assert "hush" not in str(refused.value)


def test_the_default_database_does_not_depend_on_the_working_directory(
    read, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read().database_url.reveal() == f"sqlite:///{ROOT}/data/latchkey.db"
    assert (
        read(DATABASE_URL=f"sqlite:///{tmp_path}/x.db").database_url.reveal()
        == f"sqlite:///{tmp_path}/x.db"
    )


@pytest.mark.asvs("S96")
def test_settings_do_not_show_their_secrets(read) -> None:
    settings = read(**PUBLIC, DATABASE_URL="postgresql://me:hush@localhost/latchkey")
    assert SECRET not in repr(settings)
    assert "hush" not in repr(settings)
