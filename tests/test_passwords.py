"""Tests of password hashing: the parameters, the limit on concurrent hashes, and their order."""

import asyncio

import pytest

from db.crypto.passwords import LOCKED_HASH, Passwords
from db.crypto.secret import Secret
from db.errors import Unavailable
from tests.hashing import HeldHasher

PASSWORD, OTHER_PASSWORD = Secret("engine-No.9"), Secret("another-No.7")


@pytest.fixture
def passwords():
    """Returns a hasher with the parameters of production."""
    passwords = Passwords()
    yield passwords
    passwords.close()


@pytest.fixture
def slow():
    """Returns a hasher with one thread, on which a hash takes about 0.2 seconds."""
    passwords = Passwords(threads=1, passes=20)
    yield passwords
    passwords.close()


@pytest.fixture
def unlimited():
    """Returns a hasher with one thread and a wait so long that it refuses nothing."""
    passwords = Passwords(threads=1, passes=5, max_wait=60)
    yield passwords
    passwords.close()


@pytest.mark.guide("A17", "T13")
@pytest.mark.asvs("S41")
async def test_a_hash_is_argon2id_with_owasps_parameters(passwords: Passwords) -> None:
    assert (await passwords.hash(PASSWORD)).reveal().startswith("$argon2id$v=19$m=19456,t=2,p=1$")


@pytest.mark.guide("T13")
async def test_every_character_of_a_long_password_counts(passwords: Passwords) -> None:
    stored = await passwords.hash(Secret("a" * 255 + "b"))
    assert await passwords.verify(stored, Secret("a" * 255 + "b"))
    assert not await passwords.verify(stored, Secret("a" * 255 + "c"))


async def test_verifying_without_a_stored_hash_does_the_same_work(passwords: Passwords) -> None:
    before = passwords.hashes
    assert not await passwords.verify(None, PASSWORD)
    assert passwords.hashes == before + 1


async def test_an_invalid_hash_matches_no_password(passwords: Passwords) -> None:
    assert not await passwords.verify(Secret("not a hash"), PASSWORD)


@pytest.mark.asvs("S41")
async def test_a_hash_with_other_parameters_is_outdated(passwords: Passwords) -> None:
    weak = Passwords(memory_kib=8, passes=1)
    assert passwords.is_outdated(await weak.hash(PASSWORD))
    assert not passwords.is_outdated(await passwords.hash(PASSWORD))


@pytest.mark.reliability("R13")
async def test_fifty_concurrent_hashes_are_all_done() -> None:
    """Their estimated wait is below the limit, because no hash has been measured yet."""
    hasher = HeldHasher()
    passwords = Passwords(hasher=hasher)
    async with hasher.held("hash", passwords.hash(PASSWORD)) as first:
        tasks = [asyncio.create_task(passwords.hash(PASSWORD)) for _ in range(49)]
        await asyncio.sleep(0)
    assert len(await asyncio.gather(first, *tasks)) == passwords.hashes == 50


@pytest.mark.reliability("R13")
async def test_a_hash_that_would_wait_too_long_is_refused_with_retry_after(
    slow: Passwords,
) -> None:
    await slow.hash(PASSWORD)
    tasks = [asyncio.create_task(slow.hash(PASSWORD)) for _ in range(100)]
    await asyncio.sleep(0)
    refused = [task.exception() for task in tasks if task.done()]
    for task in tasks:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert 0 < len(refused) < 100
    assert all(isinstance(error, Unavailable) and error.retry_after >= 2 for error in refused)
    assert refused == [outcome for outcome in outcomes if isinstance(outcome, Unavailable)]


@pytest.mark.reliability("R13")
async def test_hashes_of_a_user_run_before_those_of_anonymous_clients(unlimited: Passwords) -> None:
    finished: list[str] = []

    async def hash(name: str, user_id: str | None) -> None:
        await unlimited.hash(PASSWORD, user_id=user_id)
        finished.append(name)

    tasks = [asyncio.create_task(hash("anonymous", None)) for _ in range(4)]
    await asyncio.sleep(0)
    await asyncio.gather(hash("user", "alice"), *tasks)
    assert finished.index("user") <= 1


async def test_a_canceled_hash_does_not_block_the_queue(unlimited: Passwords) -> None:
    first = asyncio.create_task(unlimited.hash(PASSWORD))
    await asyncio.sleep(0)
    canceled = [asyncio.create_task(unlimited.hash(PASSWORD)) for _ in range(3)]
    last = asyncio.create_task(unlimited.hash(OTHER_PASSWORD))
    await asyncio.sleep(0)
    for task in canceled:
        task.cancel()
    assert await first
    assert await unlimited.verify(await last, OTHER_PASSWORD)
    assert unlimited.queued == 0
    assert unlimited.hashes == 3


@pytest.mark.reliability("R13")
async def test_hashes_of_one_account_do_not_delay_those_of_others(unlimited: Passwords) -> None:
    finished: list[str] = []

    async def hash(user_id: str | None) -> None:
        await unlimited.hash(PASSWORD, user_id=user_id)
        finished.append(user_id or "guest")

    names = ["mallory", *["mallory"] * 5, "guest", "alice"]
    tasks = []
    for name in names:
        tasks.append(asyncio.create_task(hash(None if name == "guest" else name)))
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    # One hash of the account runs, and two wait with priority.
    assert finished == [*["mallory"] * 3, "alice", *["mallory"] * 3, "guest"]


@pytest.mark.reliability("R13")
async def test_canceled_hashes_free_the_places_of_their_account(unlimited: Passwords) -> None:
    running = asyncio.create_task(unlimited.hash(PASSWORD))
    await asyncio.sleep(0)
    canceled = [asyncio.create_task(unlimited.hash(PASSWORD, user_id="alice")) for _ in range(2)]
    await asyncio.sleep(0)
    for task in canceled:
        task.cancel()
    await asyncio.gather(*canceled, return_exceptions=True)
    finished: list[str] = []

    async def hash(name: str, user_id: str | None) -> None:
        await unlimited.hash(PASSWORD, user_id=user_id)
        finished.append(name)

    guest = asyncio.create_task(hash("guest", None))
    await asyncio.sleep(0)
    await asyncio.gather(running, guest, hash("alice", "alice"))
    assert finished == ["alice", "guest"]


class RecordingHasher(HeldHasher):
    """Records every hash that it verifies."""

    def __init__(self) -> None:
        super().__init__()
        self.verified: list[str | bytes] = []

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:
        self.verified.append(hash)
        return super().verify(hash, password)


@pytest.mark.asvs("S50")
@pytest.mark.parametrize("stored", [None, Secret(LOCKED_HASH)], ids=["no account", "locked"])
async def test_an_account_without_a_password_costs_a_whole_hash(
    stored: Secret[str] | None,
) -> None:
    """Without the work of a hash, the time would show that the account is locked."""
    hasher = RecordingHasher()
    passwords = Passwords(hasher=hasher)
    assert not await passwords.verify(stored, PASSWORD)
    (verified,) = hasher.verified
    assert str(verified).startswith("$argon2id$")
    passwords.close()
