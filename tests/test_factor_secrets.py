"""Tests of the secrets of authenticator apps: their encryption, their keys and their codes."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

import pyotp
import pytest

from db.access import operator_factors
from db.crypto.secret import Secret
from db.crypto.stored_secrets import StoredSecrets
from db.factors import totp
from db.maintenance.pruning import prune
from db.maintenance.startup import warn_of_unusable_factors
from db.store import Store
from db.used_tokens import use_token
from db.viewer import Operator
from tests.authenticator_app import KEY
from tests.conftest import TestApp
from tests.environment import SECRET

OLD, NEW = "an old secret of at least 32 bytes", "a new secret of at least 32 bytes!"
STEP_WITH_CODE_OF_THE_NEXT = 55_076_433  # With KEY, this step and the next have equal codes.
APP_SECRET = Secret(pyotp.TOTP(KEY).byte_secret())


async def add_apps(app: TestApp, count: int = 1) -> list[str]:
    """Adds users with an authenticator app, and returns their ids in order."""
    for number in range(count):
        await app.create(f"User{number}")
    ids = [row[0] for row in await app.rows("SELECT id FROM users ORDER BY id")]
    for user_id in ids:
        await totp.set_app(app.store, user_id, APP_SECRET, 0)
    return ids


async def use(store: Store, user_id: str, code: str) -> bool:
    async with store.transaction():
        return await totp.use_code(store, user_id, Secret(code))


def code_at(app: TestApp, steps: int = 0) -> str:
    return pyotp.TOTP(KEY).at(app.clock.moment, counter_offset=steps)


async def kids(app: TestApp) -> list[str]:
    return [row[0] for row in await app.rows("SELECT kid FROM totp ORDER BY user_id")]


# Codes


@pytest.mark.asvs("S27")
async def test_a_code_works_once(app: TestApp) -> None:
    (user_id,) = await add_apps(app)
    code = code_at(app)
    assert await use(app.store, user_id, code)
    assert not await use(app.store, user_id, code)
    assert not await use(app.store, user_id, f"{code[:3]} {code[3:]}")


@pytest.mark.asvs("S27")
async def test_no_older_code_works_after_a_newer_one(app: TestApp) -> None:
    (user_id,) = await add_apps(app)
    assert await use(app.store, user_id, code_at(app))
    assert not await use(app.store, user_id, code_at(app, -1))
    assert await use(app.store, user_id, code_at(app, 1))
    app.clock.move(seconds=30)
    assert not await use(app.store, user_id, code_at(app))


@pytest.mark.asvs("S27")
def test_a_fresh_code_equal_to_the_last_one_is_no_replay() -> None:
    step = STEP_WITH_CODE_OF_THE_NEXT
    now = datetime.fromtimestamp((step + 1) * 30, UTC)
    code = Secret(pyotp.TOTP(KEY).generate_otp(step))
    assert pyotp.TOTP(KEY).generate_otp(step + 1) == code.reveal()
    assert totp.find_step(APP_SECRET, code, now, after=step) == step + 1
    assert totp.find_step(APP_SECRET, code, now, after=step + 1) is None


@pytest.mark.asvs("S12", "S27")
@pytest.mark.parametrize("database_type", ["sqlite", "postgresql"])
async def test_twenty_concurrent_uses_of_a_code_have_one_success(app: TestApp) -> None:
    (user_id,) = await add_apps(app)
    code = code_at(app)
    assert sum(await asyncio.gather(*(use(app.store, user_id, code) for _ in range(20)))) == 1


# Keys


def test_a_secret_is_bound_to_its_user_and_its_key() -> None:
    secrets = StoredSecrets([Secret(b"a" * 32)], "factor secrets")
    text = secrets.encrypt("alice", APP_SECRET)
    decrypted = secrets.decrypt("alice", text, secrets.kid)
    assert decrypted is not None and decrypted.reveal() == APP_SECRET.reveal()
    assert secrets.decrypt("bob", text, secrets.kid) is None
    assert secrets.decrypt("alice", text, "unknown") is None
    assert secrets.decrypt("alice", text[:-4] + "AAAA", secrets.kid) is None
    for garbage in ("", "é", "AAAA", "=" * 9):
        assert secrets.decrypt("alice", garbage, secrets.kid) is None
    other = StoredSecrets([Secret(b"b" * 32)], "factor secrets")
    assert other.decrypt("alice", text, other.kid) is None
    assert secrets.encrypt("alice", APP_SECRET) != text


@pytest.mark.asvs("S94")
async def test_a_use_under_a_former_key_encrypts_the_secret_again(make_app: Callable) -> None:
    app = await make_app(SESSION_SECRET=OLD)
    (user_id,) = await add_apps(app)
    rotated = await make_app(app.path, SESSION_SECRET=f"{NEW},{OLD}")
    assert await use(rotated.store, user_id, code_at(app))
    assert await kids(app) == [rotated.store.factor_secrets.kid]
    app.clock.move(seconds=30)
    alone = await make_app(app.path, SESSION_SECRET=NEW)
    assert await use(alone.store, user_id, code_at(app))


@pytest.mark.asvs("S94")
@pytest.mark.parametrize("database_type", ["sqlite", "postgresql"])
async def test_an_interrupted_rekey_can_be_repeated(make_app: Callable) -> None:
    app = await make_app(SESSION_SECRET=OLD)
    ids = await add_apps(app, 5)
    rotated = await make_app(app.path, SESSION_SECRET=f"{NEW},{OLD}")
    operator, new = Operator(rotated.store), rotated.store.factor_secrets.kid
    old = app.store.factor_secrets.kid
    batch = await operator_factors.rekey_batch(operator, batch_size=2)
    assert (batch.rekeyed, batch.unreadable, batch.last_user_id) == (2, 0, ids[1])
    assert await kids(app) == [new, new, old, old, old]  # The process ends here.
    # A log-in in the meantime encrypts the secret of its user.
    assert await use(rotated.store, ids[0], code_at(app, -1))
    batch = await operator_factors.rekey_batch(operator)
    assert (batch.rekeyed, batch.unreadable, batch.last_user_id) == (3, 0, ids[4])
    assert await kids(app) == [new] * 5
    assert (await operator_factors.rekey_batch(operator)).last_user_id == ""
    alone = await make_app(app.path, SESSION_SECRET=NEW)
    assert [await use(alone.store, user_id, code_at(app)) for user_id in ids] == [True] * 5


@pytest.mark.asvs("S94")
async def test_a_secret_under_no_key_is_counted_and_stays(
    make_app: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    app = await make_app(SESSION_SECRET=OLD)
    (user_id,) = await add_apps(app)
    before = await app.rows("SELECT secret, kid FROM totp")
    changed = await make_app(app.path, SESSION_SECRET=NEW)
    assert not await use(changed.store, user_id, code_at(app))
    batch = await operator_factors.rekey_batch(Operator(changed.store))
    assert (batch.rekeyed, batch.unreadable) == (0, 1)
    assert await app.rows("SELECT secret, kid FROM totp") == before
    with caplog.at_level(logging.WARNING, "latchkey"):
        await warn_of_unusable_factors(changed.store)
        assert "the secrets of 1 authenticator apps" in caplog.text
        caplog.clear()
        await warn_of_unusable_factors(app.store)
        assert caplog.text == ""


@pytest.mark.asvs("S86")
async def test_the_database_contains_no_secret_of_an_app(app: TestApp) -> None:
    await add_apps(app)
    stored = app.stored()
    for text in (KEY.encode(), APP_SECRET.reveal(), SECRET.encode()):
        assert text not in stored


async def test_used_tokens_are_deleted_after_their_expiry(app: TestApp) -> None:
    now = app.clock.moment.timestamp()
    for jti, seconds in (("a", 60), ("b", 600)):
        async with app.store.transaction():
            assert await use_token(app.store, {"jti": jti, "exp": now + seconds})
    app.clock.move(seconds=60)
    assert await prune(app.store) == 1
    assert await app.rows("SELECT id FROM used_tokens") == [("b",)]
