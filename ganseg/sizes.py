"""The architecture of a scale at another image size."""

from __future__ import annotations

import math
from typing import Any

from ganseg.config import Config
from ganseg.errors import UserError
from ganseg.settings import convert

SMALLEST_START = 4  # pixels of the first block


def settings_for_size(config: Config, size: int | str) -> dict[str, Any]:
    """Settings that give `config` images of `size` x `size` pixels: blocks of G and of D.

    The generator doubles its size where it did before, from another start. Each time that the image holds the
    former one twice more, a block is added that doubles, as wide as the last. The discriminator gets the
    fewest blocks whose last features are no larger than before. UserError where the start would not be a
    whole number of at least 4 pixels; it names sizes that fit.
    """
    size = convert("data.size", size, int)
    sizes, widths = config.generator.block_sizes, config.generator.block_widths
    d = config.discriminator.widths
    more = max(0, int(math.log2(size / sizes[-1]))) if size > 0 else 0
    factor = sizes[-1] // sizes[0] * 2**more  # from the first block to the image
    _refuse_unfit(size, factor)
    scaled = [size * s // (sizes[-1] * 2**more) for s in sizes]
    side = math.ceil(config.data.size / 2 ** len(d))
    blocks = next(n for n in range(1, 32) if math.ceil(size / 2**n) <= side)
    return {
        "data.size": size, "generator.block_widths": widths + widths[-1:] * more,
        "generator.block_sizes": (*scaled, *(scaled[-1] * 2**i for i in range(1, more + 1))),
        "discriminator.widths": (d + d[-1:] * blocks)[:blocks],
    }  # fmt: skip


def _refuse_unfit(size: int, factor: int) -> None:
    if size % factor == 0 and size >= SMALLEST_START * factor:
        return
    fitting = sorted({max(SMALLEST_START, size // factor + i) * factor for i in (0, 1)})
    raise UserError(
        f"data.size={size} is not {factor} times a whole number from {SMALLEST_START} on, as the generator's "
        f"blocks need: take {' or '.join(map(str, fitting))}, or set generator.block_sizes and "
        "generator.block_widths as well"
    )
