"""A pytest plugin: nbval compares the numbers of a cell's outputs within tolerances, and their words exactly.

Trainings differ between processors in the last digit, and small ones then take other ways. What must agree: words,
layout, whole numbers; and every number with a decimal point, an exponent or a per cent sign within `RELATIVE` of the
stored one or `ABSOLUTE`, whichever is more. Pictures and HTML are not compared: each has a plain text of the same
content beside it. A cell whose words may change, a verdict, is tagged `nbval-ignore-output` and must merely run.
"""

from __future__ import annotations

import math
import re
from typing import Any

RELATIVE, ABSOLUTE = 0.5, 0.25
NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?:\s?%)?", re.IGNORECASE)
NOT_COMPARED = ("text/html", "stderr")


class Tolerant(str):
    """Text that equals another one of the same words and close numbers."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and agree(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


def agree(stored: str, computed: str) -> bool:
    """Whether two texts have the same words, spaces aside, and numbers that are close."""
    words = [" ".join(NUMBER.sub("#", text).split()) for text in (stored, computed)]
    numbers = zip(NUMBER.findall(stored), NUMBER.findall(computed), strict=False)
    return words[0] == words[1] and all(close(*pair) for pair in numbers)


def close(stored: str, computed: str) -> bool:
    """Whether two written numbers agree: whole ones exactly, others within the tolerances, per cents as fractions."""
    values = [_value(text) for text in (stored, computed)]
    if not any(mark in stored + computed for mark in ".eE%"):
        return values[0] == values[1]
    return math.isclose(values[1], values[0], abs_tol=max(ABSOLUTE, RELATIVE * abs(values[0])), rel_tol=0)


def _value(text: str) -> float:
    number = float(text.rstrip("% \u00a0").replace(",", ""))
    return number / 100 if text.endswith("%") else number


def pytest_configure(config: Any) -> None:
    """Teach nbval these rules, where it is installed and asked for."""
    if not (getattr(config.option, "nbval", False) or getattr(config.option, "nbval_lax", False)):
        return
    from nbval.plugin import IPyNbCell

    sanitize, compare = IPyNbCell.sanitize, IPyNbCell.compare_outputs

    def compare_outputs(cell: Any, test: Any, ref: Any, skip_compare: Any = None) -> bool:
        return compare(cell, test, ref, (*(skip_compare or cell.parent.skip_compare), *NOT_COMPARED))

    def tolerant(cell: Any, text: Any) -> Any:
        return Tolerant(sanitize(cell, text)) if isinstance(text, str) else text

    IPyNbCell.sanitize, IPyNbCell.compare_outputs = tolerant, compare_outputs
