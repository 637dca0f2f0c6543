"""A pytest plugin: what nbval compares of a cell's outputs with the stored ones, so that it holds on any processor.

Words and layout must agree, and every number to `TOLERANCE`. In a cell tagged `measured`, whose numbers come from a
training, a clock or rounding noise, numbers may differ; assertions in the cell hold their ranges. A cell tagged
`nbval-ignore-output`, whose words may change too, must merely run. Pictures and HTML are not compared: each has a plain
text of the same content beside it.
"""

import math
import re
from typing import Any

TOLERANCE = 1e-6  # relative, and absolute
MEASURED = "measured"
MISSING = r"nan\b|(?<!\S)[–—](?!\S)"
NUMBER = re.compile(rf"(?<![\w.])(?:[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?:\s?%)?|{MISSING})", re.IGNORECASE)
NOT_COMPARED = ("text/html", "stderr")


class Compared(str):
    """Text that equals another one of the same words and numbers."""

    measured = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and agree(self, other, self.measured)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


class Measured(Compared):
    """Text that equals another one of the same words, and of any numbers."""

    measured = True


def agree(stored: str, computed: str, measured: bool = False) -> bool:
    """Whether two texts have the same words, spaces aside, and the same numbers, unless those were `measured`."""
    words = [" ".join(NUMBER.sub("#", text).split()) for text in (stored, computed)]
    numbers = zip(NUMBER.findall(stored), NUMBER.findall(computed), strict=False)
    return words[0] == words[1] and (measured or all(close(*pair) for pair in numbers))


def close(stored: str, computed: str) -> bool:
    """Whether two written numbers agree to `TOLERANCE`, or are missing alike."""
    if re.fullmatch(MISSING, stored, re.IGNORECASE) or re.fullmatch(MISSING, computed, re.IGNORECASE):
        return stored == computed
    a, b = (float(text.rstrip("% \u00a0").replace(",", "")) for text in (stored, computed))
    return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def pytest_itemcollected(item: Any) -> None:
    """Teach a cell of nbval these rules."""
    if hasattr(item, "sanitize"):
        text = Measured if MEASURED in item.cell.metadata.get("tags", []) else Compared
        item.sanitize = lambda value: text(value) if isinstance(value, str) else value
        item.parent.skip_compare = {*item.parent.skip_compare, *NOT_COMPARED}
