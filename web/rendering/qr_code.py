"""Contains the function that draws a QR code as the path of an SVG element."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from db.crypto.secret import Secret

QUIET_ZONE_MODULES: Final = 4  # ISO/IEC 18004, section 9.1


@dataclass(frozen=True, slots=True)
class QrCode:
    """`path` draws the dark modules, each of which is 1 wide. `size` includes the quiet zone."""

    path: str
    size: int


async def draw_qr_code(text: Secret[str]) -> QrCode:
    """Returns the QR code of the text, which is drawn in a thread: it takes about 5 ms."""
    return await asyncio.to_thread(_draw, text.reveal())


def _draw(text: str) -> QrCode:
    import segno

    # A fixed mask saves the comparison of all eight, which takes 20 to 40 ms. `error` is the lowest
    # level; segno uses the highest one that needs no more modules.
    code = segno.make(text, error="l", mask=3, micro=False)
    rows: Sequence[Sequence[int]] = code.matrix
    runs = []
    for y, row in enumerate(rows, QUIET_ZONE_MODULES):
        runs += [f"M{x} {y}h{length}v1h-{length}z" for x, length in _dark_runs(row)]
    return QrCode("".join(runs), len(rows) + 2 * QUIET_ZONE_MODULES)


def _dark_runs(row: Sequence[int]) -> list[tuple[int, int]]:
    """Returns the start and the length of each run of dark modules."""
    runs: list[tuple[int, int]] = []
    for x, is_dark in enumerate(row, QUIET_ZONE_MODULES):
        if not is_dark:
            continue
        if runs and sum(runs[-1]) == x:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((x, 1))
    return runs
