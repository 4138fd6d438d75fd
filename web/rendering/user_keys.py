"""Contains the drawing of each user's own key.

The key is decoration. The depths of its cuts are a hash of the user id. They give no access, and
reveal nothing about the account, because the id of 128 random bits cannot be found from ten bits.
"""

import hashlib
from functools import lru_cache
from typing import Final

CUTS: Final = 5
DEPTHS: Final = ("2.5", "5", "7.5", "10")
# The outline in a box of 120 by 48: from the bow along the upper edge, which has the cuts. The
# subpaths after it are the hole of the bow and the groove.
START: Final = "M46 9h6v5"
REST: Final = (
    "H114l6 7v6l-6 6H52v6h-6v-8.3A23 23 0 1 1 46 17.3z"
    "M18 24a5.5 5.5 0 1 0-11 0 5.5 5.5 0 1 0 11 0zM56 27v2h56v-2z"
)


@lru_cache(4096)
def key_path(user_id: str) -> str:
    """Returns the SVG path of the user's key, the same for each id at all times."""
    digest = hashlib.sha256(user_id.encode()).digest()
    path = START
    for cut in range(CUTS):
        depth = DEPTHS[digest[cut] % len(DEPTHS)]
        path += f"H{56 + 11 * cut}l2.5 {depth}h3.5l2.5-{depth}"
    return path + REST
