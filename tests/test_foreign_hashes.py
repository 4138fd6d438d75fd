"""Tests of password hashes of other systems: their formats, their costs and their replacement."""

import pytest

from db.access import user_import
from db.access.user_import import NewUser
from db.crypto.foreign_hashes import UnusableHash, normalize
from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.viewer import Operator
from tests.browser_client import PASSWORD, Browser
from tests.conftest import TestApp

# Hashes of PASSWORD that Django 5.2, Werkzeug 3.1, passlib 1.7, bcrypt 5.0 and argon2-cffi made.
HASHES = {
    "django pbkdf2_sha256": "pbkdf2_sha256$1000$k7Vq9hG2sLtY0aBcDeFgHi$/jXfTjDN9l0A2d1N52KF6TsFRJY26AFgSnv5Ld6TGF0=",
    "django pbkdf2_sha1": "pbkdf2_sha1$1000$k7Vq9hG2sLtY0aBcDeFgHi$CBMYP+lghDl1g70NjiQBOa9zu+E=",
    "django argon2": "argon2$argon2id$v=19$m=64,t=1,p=1$elNpWEplMFZ2N1pEaVl0cHYwT2lYWQ$g/cmBHwYDoShZYJhG0loAOTcawfmdaGKCqqBLFbUw4k",
    "django bcrypt_sha256": "bcrypt_sha256$$2b$04$GI7Tiih.uoAp0el8waXDOemV4Ygq81przumCYtRqy1l2jHRmZj58O",
    "django bcrypt": "bcrypt$$2b$04$M8igsCTav1yyDVeGs7XzTOE6Arl5JqhVgVL2iS1/lJSnNeJyFYv0O",
    "django scrypt": "scrypt$16$DNouh0wH0KuE1vdfG7t33y$8$5$6WolRq1r7oBo0TzlLPS45rOMnpBJih8l0oFhaD3euYSH1gvdWHFO5ItQaYwt1jjgcB5lV6NQBU3cLGFH5MPRpg==",
    "werkzeug scrypt": "scrypt:1024:8:1$bZRQTJlNhEqPzzYy$450e7e3edb0b3e55223ee1f56eb9bd36ab5a067d741ad980e3e85ad9c221efd04b3912c469d040af6c4d8ebebf6afaeb070216d757266f9599f22893a7633ad0",
    "werkzeug pbkdf2": "pbkdf2:sha256:1000$8MjAx3ySmMVrabja$98c778d6f7e001d7202950906242630359b741bdb6aa5dcaaf3c52014e9504f7",
    "passlib pbkdf2": "$pbkdf2-sha256$1000$kBJCCOGc0/p/zxljTOld6w$Z6UWaCS3aj1uwEdFLmCNtH6m9RwFHnRkGEpnwXVklgQ",
    "passlib pbkdf2-sha512": "$pbkdf2-sha512$1000$SwnhnDMGwHjP2TtHiBHCGA$H25j2vZGtUiw7irXi4FKfyFVOs0pfuwGDDCTzZbVzW.HubnUmPHz09Kib51E5AKyT2IHlJE3V1R9Dw8oqBZpYQ",
    "passlib scrypt": "$scrypt$ln=4,r=8,p=1$6r0XAkCI8d47BwBACOGcsw$yO7FvRdMP1aLnzclTNfT5jDFROhEBGX5pOaU07yoZQc",
    "bcrypt 2b": "$2b$04$9Y4HoBb.x59Y0BGHMnY/iu3VGKyXDX9bgXIlzcgrzo8QvuqIs2M1S",
    "bcrypt 2a": "$2a$04$J/6iz9F.RvADXya7xiKLkul3p4IDzK5qm2nsBdHzXoJx/5p0HiVnm",
    "bcrypt 2y": "$2y$04$9Y4HoBb.x59Y0BGHMnY/iu3VGKyXDX9bgXIlzcgrzo8QvuqIs2M1S",
    "argon2 D": "$argon2d$v=19$m=64,t=1,p=1$wv8OmPHjyMqvf+ktKQxq6g$vEOUMpHuEEzpnR9fwHd2totbwVUYRbJBtkDHTAXni7o",
    "argon2 I": "$argon2i$v=19$m=64,t=1,p=1$wvmXU0cpMDdhUSGNTJa3zQ$EkI/yNmrPEBAEjCuARrs7YeDNxke2veoHoXiHzqYgFE",
    "argon2 ID": "$argon2id$v=19$m=64,t=1,p=1$YW9kOgjKW/p476lCqehTaA$VwoFKoxVroAoBWIWIN+3H88coduoJUY1/eN/Qj1Luf0",
}
BCRYPT = HASHES["bcrypt 2b"]
SCRYPT_SALT = "$DNouh0wH0KuE1vdfG7t33y$8$5$6WolRq1r7oBo0TzlLPS45rOMnpBJih8l0oFhaD3euYSH1gvdWHFO5ItQaYwt1jjgcB5lV6NQBU3cLGFH5MPRpg=="
ARGON2_TAIL = "$YW9kOgjKW/p476lCqehTaA$VwoFKoxVroAoBWIWIN+3H88coduoJUY1/eN/Qj1Luf0"


async def import_alice(app: TestApp, stored: str) -> Browser:
    alice = await app.browser("Alice")
    user = NewUser(2, alice.email, "Alice", app.clock(), password_hash=normalize(stored))
    assert await user_import.import_users(Operator(app.store), [user]) == 1
    return alice


async def hash_of(app: TestApp) -> str:
    return (await app.rows("SELECT password_hash FROM users"))[0][0]


@pytest.mark.parametrize("name", HASHES)
async def test_an_imported_hash_is_replaced_at_the_next_log_in(app: TestApp, name: str) -> None:
    alice = await import_alice(app, HASHES[name])
    assert (await alice.log_in()).status_code == 303
    replaced = await hash_of(app)
    assert replaced.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    alice.cookie = None
    assert (await alice.log_in()).status_code == 303
    assert await hash_of(app) == replaced


@pytest.mark.parametrize("name", HASHES)
async def test_a_wrong_password_keeps_an_imported_hash(app: TestApp, name: str) -> None:
    alice = await import_alice(app, HASHES[name])
    stored = await hash_of(app)
    assert (await alice.log_in("engine-No.8 to the sea")).status_code == 422
    assert await hash_of(app) == stored
    assert await app.count("sessions") == 0


async def test_an_account_without_a_hash_has_no_password(app: TestApp) -> None:
    alice = await app.browser("Alice")
    user = NewUser(2, alice.email, "Alice", app.clock())
    await user_import.import_users(Operator(app.store), [user])
    for password in ("!", PASSWORD):
        assert (await alice.log_in(password)).status_code == 422


async def test_the_imported_password_confirms_a_change_of_it(app: TestApp) -> None:
    alice = await import_alice(app, BCRYPT)
    await alice.log_in()
    fields = {"current_password": PASSWORD, "password": "another-No.9 to the sea"}
    assert (await alice.post("/account/password", fields)).status_code == 303


async def test_bcrypt_ignores_what_follows_72_bytes(fast_passwords: Passwords) -> None:
    import bcrypt

    long = "ä" * 36 + "rest"
    stored = Secret(bcrypt.hashpw(("ä" * 36).encode(), bcrypt.gensalt(4)).decode())
    assert await fast_passwords.verify(stored, Secret(long))
    assert not await fast_passwords.verify(stored, Secret("ä" * 35))
    assert not await fast_passwords.verify(stored, Secret("nul\0inside"))


@pytest.mark.parametrize(
    "text",
    [
        "$2b$15$" + BCRYPT[7:],
        "bcrypt$$2b$31$" + BCRYPT[7:],
        "pbkdf2_sha256$2000001$salt$/jXfTjDN9l0A2d1N52KF6TsFRJY26AFgSnv5Ld6TGF0=",
        "pbkdf2_sha256$0$salt$/jXfTjDN9l0A2d1N52KF6TsFRJY26AFgSnv5Ld6TGF0=",
        "scrypt$1073741824" + SCRYPT_SALT,
        "scrypt$262144" + SCRYPT_SALT,
        "$scrypt$ln=30,r=8,p=1$6r0XAkCI8d47BwBACOGcsw$yO7FvRdMP1aLnzclTNfT5jDFROhEBGX5pOaU07yoZQc",
        "$scrypt$ln=10,r=8,p=9999$6r0XAkCI8d47BwBACOGcsw$yO7FvRdMP1aLnzclTNfT5jDFROhEBGX5pOaU07yoZQc",
        f"$argon2id$v=19$m=4194304,t=1,p=1{ARGON2_TAIL}",
        f"$argon2id$v=19$m=65536,t=1000,p=1{ARGON2_TAIL}",
        f"$argon2id$v=19$m=65536,t=1,p=8192{ARGON2_TAIL}",
    ],
)
def test_a_hash_that_costs_too_much_is_not_imported(text: str) -> None:
    with pytest.raises(UnusableHash, match="costs too much"):
        normalize(text)


@pytest.mark.parametrize(
    "text",
    [
        "!",
        "password",
        "5f4dcc3b5aa765d61d8327deb882cf99",  # MD5
        "md5$salt$5f4dcc3b5aa765d61d8327deb882cf99",
        "$1$salt$hash",
        "$2b$10$short",
        "$2x$04$" + BCRYPT[7:],
        "bcrypt_sha256$" + HASHES["passlib pbkdf2"],
        "pbkdf2_md5$1000$salt$/jXfTjDN9l0A2d1N52KF6TsFRJY26AFgSnv5Ld6TGF0=",
        "pbkdf2_sha256$1000$salt$",
        "pbkdf2_sha256$1000$salt$AAAA",  # Three bytes, which every 2^24th password matches.
        "pbkdf2_sha256$1000$salt$not base64",
        "pbkdf2:md5:1000$salt$00000000000000000000000000000000",
        "scrypt$15" + SCRYPT_SALT,  # N is no power of two.
        "scrypt:1024:0:1$salt$00000000000000000000000000000000",
        "$argon2id$v=19$m=64",
        "$argon2id$",
        "$" * 600,
    ],
)
def test_an_unknown_hash_is_not_imported(text: str) -> None:
    with pytest.raises(UnusableHash) as refused:
        normalize(text)
    assert len(text) < 9 or text not in str(refused.value)


@pytest.mark.parametrize("text", ["$2b$04$x", "scrypt$15" + SCRYPT_SALT, "pbkdf2_sha256$x$y$z", ""])
async def test_a_damaged_stored_hash_matches_no_password(
    fast_passwords: Passwords, text: str
) -> None:
    assert not await fast_passwords.verify(Secret(text), Secret(PASSWORD))
