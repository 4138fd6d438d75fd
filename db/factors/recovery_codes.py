"""Recovery codes: ten per account, each of which works once instead of a second step.

A code has 120 random bits, so an unsalted SHA-256 is enough (ASVS 5.0, 6.5.2), and it outlives a
change of the application's secret.
"""

import hashlib
import secrets
from collections.abc import Sequence
from typing import Final

from sqlalchemy import bindparam, delete, func, select

from db.crypto.secret import Secret
from db.engine.statement import Statement, insert
from db.store import Store
from db.tables import Instant, recovery_codes

CODE_COUNT: Final = 10
CODE_CHARS: Final = 24
GROUP_CHARS: Final = 4
MAX_TYPED_CHARS: Final = 64
# Crockford's base 32, which has no I, L, O and U.
ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# Letters that users type instead of similar digits.
SIMILAR: Final = str.maketrans("ILO", "110")

USE_CODE = Statement(
    delete(recovery_codes)
    .where(
        recovery_codes.c.code_hash == bindparam("code_hash"),
        recovery_codes.c.user_id == bindparam("user_id"),
    )
    .returning(recovery_codes.c.code_hash)
)
INSERT_CODES = Statement(
    insert(recovery_codes).values(
        [
            {
                "code_hash": bindparam(f"hash_{number}"),
                "user_id": bindparam("user_id"),
                "created_at": bindparam("now", type_=Instant),
            }
            for number in range(CODE_COUNT)
        ]
    )
)
DELETE_CODES = Statement(
    delete(recovery_codes).where(recovery_codes.c.user_id == bindparam("user_id"))
)
COUNT_CODES = Statement(
    select(func.count())
    .select_from(recovery_codes)
    .where(recovery_codes.c.user_id == bindparam("user_id"))
)


def draw_codes() -> list[Secret[str]]:
    """Returns ten new codes in groups of four characters, such as `4GQK-…`. They are not stored."""
    return [Secret(_group(_draw())) for _ in range(CODE_COUNT)]


def hash_code(code: Secret[str]) -> str:
    """Returns the hash of a code as the database stores it. The code may be typed in any form."""
    return hashlib.sha256(_canonical(code.reveal()).encode()).hexdigest()


async def use_code(store: Store, user_id: str, code: Secret[str]) -> bool:
    """Deletes a code of the account, and returns False if it is wrong or was used already.

    Only one of many concurrent requests succeeds. Must run in the transaction of what the code
    allows.
    """
    if len(code.reveal()) > MAX_TYPED_CHARS:
        return False
    return await store.value(USE_CODE(code_hash=hash_code(code), user_id=user_id)) is not None


async def replace_codes(store: Store, user_id: str, hashes: Sequence[str]) -> None:
    """Stores the hashes of new codes instead of the old codes of the account.

    Must run inside the transaction of the change.
    """
    await delete_codes(store, user_id)
    await store_codes(store, user_id, hashes)


async def store_codes(store: Store, user_id: str, hashes: Sequence[str]) -> None:
    """Stores the hashes of the first codes of an account.

    Must run inside the transaction of the change.
    """
    numbered = {f"hash_{number}": code_hash for number, code_hash in enumerate(hashes)}
    await store.count(INSERT_CODES(user_id=user_id, now=store.now(), **numbered))


async def delete_codes(store: Store, user_id: str) -> None:
    await store.count(DELETE_CODES(user_id=user_id))


async def count_codes(store: Store, user_id: str) -> int:
    """Returns how many codes the account has left."""
    return int(await store.value(COUNT_CODES(user_id=user_id)))


def _draw() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(CODE_CHARS))


def _group(code: str) -> str:
    groups = [code[at : at + GROUP_CHARS] for at in range(0, CODE_CHARS, GROUP_CHARS)]
    return "-".join(groups)


def _canonical(typed: str) -> str:
    """Returns a typed code without blanks and hyphens, in upper case and with digits for similar
    letters.
    """
    kept = "".join(character for character in typed.upper() if character.isalnum())
    return kept.translate(SIMILAR)
