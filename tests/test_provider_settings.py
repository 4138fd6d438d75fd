"""Tests of the settings of identity providers: PROVIDERS and the variables of each name."""

from collections.abc import Callable
from pathlib import Path

import pytest
from joserfc.jwk import ECKey, RSAKey

from tests.environment import SECRET
from web.settings.environment import InvalidSetting
from web.settings.settings import Settings, read_settings

GOOGLE = {
    "PROVIDERS": "google",
    "GOOGLE_CLIENT_ID": "id",
    "GOOGLE_CLIENT_SECRET": "canary-of-the-secret",
}
WORK = {
    "PROVIDERS": "work",
    "WORK_ISSUER": "https://id.example.com/realms/main",
    "WORK_CLIENT_ID": "id",
    "WORK_CLIENT_SECRET": "canary-of-the-secret",
}
MICROSOFT = {
    "PROVIDERS": "microsoft",
    "MICROSOFT_CLIENT_ID": "id",
    "MICROSOFT_CLIENT_SECRET": "canary-of-the-secret",
}
APPLE = {
    "PROVIDERS": "apple",
    "APPLE_CLIENT_ID": "com.example.site",
    "APPLE_TEAM_ID": "TEAM567890",
    "APPLE_KEY_ID": "KEY4567890",
    "APPLE_PRIVATE_KEY": ECKey.generate_key("P-256").as_pem(private=True).decode(),
}
TENANT = "b3b9c1a0-1111-4222-8333-444455556666"


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Settings]:
    def read(**environ: str) -> Settings:
        return read_settings({"SESSION_SECRET": SECRET, **environ}, data=tmp_path)

    return read


def test_there_are_no_providers_by_default(read) -> None:
    assert read().providers == ()


def test_four_lines_make_a_provider(read) -> None:
    (provider,) = read(**WORK).providers
    assert (provider.name, provider.label) == ("work", "Work")
    assert provider.issuer == "https://id.example.com/realms/main"
    assert provider.discovery_url == f"{provider.issuer}/.well-known/openid-configuration"
    assert provider.redirect_uri == "http://localhost:8000/login/with/work/callback"
    assert provider.scopes == ("openid", "email", "profile")
    assert provider.allows_sign_up
    assert not provider.trusts_email


def test_providers_are_in_the_order_of_the_setting(read) -> None:
    providers = read(**(WORK | GOOGLE | {"PROVIDERS": "work, google"})).providers
    assert [provider.name for provider in providers] == ["work", "google"]


def test_the_redirect_uri_has_the_base_path(read) -> None:
    environ = {**WORK, "BASE_URL": "https://example.com", "BASE_PATH": "/accounts"}
    (provider,) = read(**environ).providers
    assert provider.redirect_uri == "https://example.com/accounts/login/with/work/callback"


def test_a_secret_is_read_from_a_file_and_never_shown(read, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("canary-of-the-file\n")
    path.chmod(0o600)
    environ = {name: value for name, value in WORK.items() if name != "WORK_CLIENT_SECRET"}
    settings = read(**environ, WORK_CLIENT_SECRET_FILE=str(path))
    assert settings.providers[0].client_secret.reveal() == "canary-of-the-file"
    assert "canary" not in repr(settings)


@pytest.mark.parametrize(
    ("environ", "trusts"),
    [
        (GOOGLE, True),
        (GOOGLE | {"GOOGLE_TRUST_EMAIL": "no"}, False),
        (WORK | {"WORK_TRUST_EMAIL": "yes"}, True),
        (MICROSOFT, False),
        (APPLE, True),
    ],
)
def test_an_email_is_trusted_by_the_preset_or_the_setting(read, environ, trusts) -> None:
    assert read(**environ).providers[0].trusts_email is trusts


def test_the_email_of_another_gitlab_is_not_trusted(read) -> None:
    environ = {"PROVIDERS": "gitlab", "GITLAB_CLIENT_ID": "id", "GITLAB_CLIENT_SECRET": "secret"}
    assert read(**environ).providers[0].trusts_email
    other = read(**environ, GITLAB_ISSUER="https://gitlab.example.com").providers[0]
    assert (other.issuer, other.trusts_email) == ("https://gitlab.example.com", False)


@pytest.mark.parametrize(
    ("tenant", "issuer"),
    [
        ("common", "https://login.microsoftonline.com/{tenantid}/v2.0"),
        ("organizations", "https://login.microsoftonline.com/{tenantid}/v2.0"),
        (TENANT, f"https://login.microsoftonline.com/{TENANT}/v2.0"),
        (
            "consumers",
            "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
        ),
    ],
)
def test_microsofts_issuer_depends_on_the_tenant(read, tenant, issuer) -> None:
    (provider,) = read(**MICROSOFT, MICROSOFT_TENANT=tenant).providers
    assert provider.issuer == issuer
    assert provider.discovery_url == (
        f"https://login.microsoftonline.com/{tenant}/v2.0/.well-known/openid-configuration"
    )


def test_apple_has_a_key_instead_of_a_secret(read) -> None:
    (provider,) = read(**APPLE).providers
    assert provider.client_secret is None
    assert provider.apple_key.team_id == "TEAM567890"
    assert provider.response_mode == "form_post"
    one_line = APPLE["APPLE_PRIVATE_KEY"].replace("\n", "\\n")
    assert read(**(APPLE | {"APPLE_PRIVATE_KEY": one_line})).providers[0].apple_key


RSA_PEM = RSAKey.generate_key(2048).as_pem(private=True).decode()


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({**GOOGLE, "PROVIDERS": "Google"}, "PROVIDERS"),
        ({**GOOGLE, "PROVIDERS": "g"}, "PROVIDERS"),
        ({**GOOGLE, "PROVIDERS": "google,google"}, "PROVIDERS"),
        ({**GOOGLE, "PROVIDERS": "google,a/b"}, "PROVIDERS"),
        ({**GOOGLE, "GOOGLE_CLIENT_ID": ""}, "GOOGLE_CLIENT_ID"),
        ({**GOOGLE, "GOOGLE_CLIENT_SECRET": ""}, "GOOGLE_CLIENT_SECRET"),
        ({**GOOGLE, "GOOGLE_ISSUER": "https://evil.example"}, "GOOGLE_ISSUER"),
        ({**GOOGLE, "GOOGLE_SIGNUP": "maybe"}, "GOOGLE_SIGNUP"),
        ({**GOOGLE, "GOOGLE_LABEL": "L" * 41}, "GOOGLE_LABEL"),
        ({**GOOGLE, "GOOGLE_SCOPES": "email"}, "GOOGLE_SCOPES"),
        ({**WORK, "WORK_ISSUER": ""}, "WORK_ISSUER"),
        ({**WORK, "WORK_ISSUER": "http://id.example.com"}, "WORK_ISSUER"),
        ({**WORK, "WORK_ISSUER": "https://user@id.example.com"}, "WORK_ISSUER"),
        ({**WORK, "WORK_ISSUER": "https://id.example.com/?a=b"}, "WORK_ISSUER"),
        ({**WORK, "WORK_ISSUER": "id.example.com"}, "WORK_ISSUER"),
        ({**WORK, "WORK_ISSUER": "https://id.example.com/{tenantid}"}, "WORK_ISSUER"),
        (
            {
                **WORK,
                **GOOGLE,
                "PROVIDERS": "google,work",
                "WORK_ISSUER": "https://accounts.google.com",
            },
            "PROVIDERS",
        ),
        ({**MICROSOFT, "MICROSOFT_TENANT": "example.com"}, "MICROSOFT_TENANT"),
        ({**MICROSOFT, "MICROSOFT_TRUST_EMAIL": "yes"}, "MICROSOFT_TRUST_EMAIL"),
        ({**APPLE, "APPLE_TEAM_ID": "short"}, "APPLE_TEAM_ID"),
        ({**APPLE, "APPLE_PRIVATE_KEY": "not a key"}, "APPLE_PRIVATE_KEY"),
        ({**APPLE, "APPLE_PRIVATE_KEY": RSA_PEM}, "APPLE_PRIVATE_KEY"),
    ],
)
def test_a_wrong_setting_stops_the_start(read, environ, variable) -> None:
    with pytest.raises(InvalidSetting) as problem:
        read(**environ)
    assert str(problem.value).startswith(f"{variable}: ")
    assert "canary" not in str(problem.value)
