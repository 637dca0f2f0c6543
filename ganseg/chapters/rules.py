"""The language of the ledger's rules: two sides, measured or printed, and how they must lie to each other.

    higher(full.iou, no_points.iou)             two measurements, 95 % intervals apart
    below(full.landmark_error_ratio, 1)         a measurement and a bar
    above(cub.iou, printed("Table 2", "cub", "ReDO [4]") - 0.05)

A rule is parsed, never run as code. Sides may be multiplied with a number, or have one added or taken away.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ganseg import reported
from ganseg.files import UserError


class Statistic(NamedTuple):
    """A number of a run, as readers know it."""

    title: str
    digits: int = 3


STATISTICS = {
    "iou": Statistic("foreground IoU"),
    "iou_constant_mask": Statistic("IoU of the best constant mask"),
    "iou_images": Statistic("number of images with a mask", 0),
    "nmi_foreground": Statistic("NMI of parts"),
    "ari_foreground": Statistic("ARI of parts"),
    "landmark_error": Statistic("landmark error"),
    "landmark_error_ratio": Statistic("landmark error over that of average landmarks"),
    "taichi_mae": Statistic("MAE of keypoints", 1),
    "components_per_part": Statistic("pieces per visible part", 2),
    "vanished_parts": Statistic("number of vanished parts", 1),
    "generated_pieces": Statistic("pieces per generated part", 2),
    "generated_vanished": Statistic("number of parts that no sample shows", 1),
    "foreground_fraction": Statistic("foreground share"),
    "equivariance_error": Statistic("equivariance error (shifts)"),
    "test_images": Statistic("number of test images", 0),
    "train_images": Statistic("number of training images", 0),
}
# Function -> how it reads, whether the left side must be the higher one, whether both must be measured.
FUNCTIONS = {
    "higher": ("is higher than", True, True),
    "lower": ("is lower than", False, True),
    "above": ("is above", True, False),
    "below": ("is below", False, False),
}


class Term(NamedTuple):
    """factor * role.metric + offset; without a role, the bar `offset`."""

    text: str
    role: str = ""
    metric: str = ""
    factor: float = 1.0
    offset: float = 0.0


class Rule(NamedTuple):
    """A parsed rule."""

    text: str
    function: str
    left: Term
    right: Term

    @property
    def terms(self) -> tuple[Term, Term]:
        """Both sides."""
        return self.left, self.right

    @property
    def roles(self) -> set[str]:
        """The experiments that it names."""
        return {term.role for term in self.terms if term.role}

    @property
    def metric(self) -> str:
        """What is measured."""
        return self.left.metric

    @property
    def words(self) -> str:
        """The rule as a sentence."""
        sides = [f"{STATISTICS[t.metric].title} ({t.text})" if t.role else t.text for t in self.terms]
        return f"{sides[0]} {FUNCTIONS[self.function][0]} {sides[1]}"

    def holds(self, left: Any, right: Any) -> bool:
        """Whether the whole interval of `left` lies on its side of that of `right` (objects with `low` and
        `high`)."""
        up = FUNCTIONS[self.function][1]
        return bool(left.low > right.high if up else left.high < right.low)


def parse(text: str, roles: Mapping[str, str]) -> Rule:
    """The rule that `text` spells; `roles`: role -> how a reader calls it. UserError for anything that is
    none."""
    try:
        call = ast.parse(text, mode="eval").body
    except SyntaxError:
        raise UserError(f"not a rule: {text}") from None
    name = call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else ""
    if name not in FUNCTIONS or len(call.args) != 2 or call.keywords:
        raise UserError(f"not a rule: {text}; known are {', '.join(f'{known}(a, b)' for known in FUNCTIONS)}")
    left, right = (_term(node, text, roles) for node in call.args)
    if not left.role:
        raise UserError(f"{text}: its left side is measured by no run")
    if FUNCTIONS[name][2] and not right.role:
        raise UserError(f"{text}: {name} compares two measurements; above and below take a bar")
    return Rule(text, name, left, right if right.role else right._replace(metric=left.metric))


def _term(node: ast.expr, text: str, roles: Mapping[str, str]) -> Term:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return Term(f"{node.value:g}", offset=float(node.value))
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return _measured(node.value.id, node.attr, text, roles)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "printed":
        return _printed(node, text)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Add | ast.Sub):
        return _combined(node, text, roles)
    raise UserError(f"{text}: {ast.unparse(node)} is neither role.metric, a number, nor printed(table, column, method)")


def _measured(role: str, metric: str, text: str, roles: Mapping[str, str]) -> Term:
    if role not in roles:
        raise UserError(f"{text}: unknown role {role!r}; known are {', '.join(roles)}")
    if metric not in STATISTICS:
        raise UserError(f"{text}: unknown metric {metric!r}; known are {', '.join(STATISTICS)}")
    return Term(roles[role], role, metric)


def _printed(node: ast.Call, text: str) -> Term:
    """A number of the paper, per cent as a fraction."""
    names = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
    if len(names) != 3 or names[0] not in reported.TABLES:
        raise UserError(
            f"{text}: printed takes a table, a column and a method; tables are {', '.join(reported.TABLES)}"
        )
    table = reported.TABLES[names[0]]
    value = table.value(*names[1:]) / (100 if table.column(names[1]).unit == "%" else 1)
    return Term(f"{names[2]} in {names[0]}", offset=value)


def _combined(node: ast.BinOp, text: str, roles: Mapping[str, str]) -> Term:
    """number * term, term + number or term - number."""
    times = isinstance(node.op, ast.Mult)
    number_, term_ = (node.left, node.right) if times else (node.right, node.left)
    if not isinstance(number_, ast.Constant):
        raise UserError(f"{text}: {ast.unparse(node)} is neither number * term, term + number nor term - number")
    value, term = _term(number_, text, roles).offset, _term(term_, text, roles)
    if times:
        return term._replace(text=f"{value:g} x {term.text}", factor=value * term.factor, offset=value * term.offset)
    plus = isinstance(node.op, ast.Add)
    return term._replace(
        text=f"{term.text} {'+' if plus else '-'} {value:g}", offset=term.offset + (value if plus else -value)
    )


def number(metric: str, value: float) -> str:
    """`value` with the digits of its metric; a dash for NaN."""
    return (
        "–"
        if value is None or math.isnan(value)
        else f"{value:.{STATISTICS[metric].digits if metric in STATISTICS else 3}f}"
    )
