"""What the paper claims, as `claims.yml` has it: where each claim stands, and the rule that decides it.

    higher(full.iou, no_points.iou)             two measurements, 95 % intervals apart
    below(full.landmark_error_ratio, 1)         a measurement and a bar
    above(cub.iou, printed("Table 2", "cub", "ReDO [4]") - 0.05)

A rule is parsed, never run as code. A side may be multiplied with a number, and have one added or taken away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ganseg import reported
from ganseg.files import PACKAGE, UserError
from ganseg.recipes import SCALES
from ganseg.titles import TITLES

LEDGER = PACKAGE / "claims.yml"
ROLE_FIELDS = {"title", "variant", "data", "parts", "overrides"}
# Relation -> how it reads, whether the left side must be the higher one, whether both must be measured.
RELATIONS = {
    "higher": ("is higher than", True, True),
    "lower": ("is lower than", False, True),
    "above": ("is above", True, False),
    "below": ("is below", False, False),
}
RULE = re.compile(r"(\w+)\((.+?), (.+)\)")
OPERAND = re.compile(
    r"""(?:(?P<times>[\d.]+)\ \*\ )?
    (?:(?P<role>\w+)\.(?P<metric>[a-z]\w*) | (?P<bar>[\d.]+)
      | printed\("(?P<table>.+)",\ "(?P<column>.+)",\ "(?P<method>.+)"\))
    (?:\ (?P<sign>[+-])\ (?P<plus>[\d.]+))?""",
    re.VERBOSE,
)
Roles = Mapping[str, Mapping[str, Any]]


class Term(NamedTuple):
    """factor * role.metric + offset; without a role, the bar `offset`."""

    text: str
    role: str = ""
    metric: str = ""
    factor: float = 1.0
    offset: float = 0.0


class Rule(NamedTuple):
    """`relation(left, right)`, parsed and never run as code: higher(full.iou, no_points.iou), above(full.iou, 0.5)."""

    text: str
    relation: str
    left: Term
    right: Term

    @property
    def roles(self) -> set[str]:
        """The experiments that it names."""
        return {term.role for term in (self.left, self.right) if term.role}

    @property
    def words(self) -> str:
        """The rule as a sentence."""
        sides = [f"{TITLES[t.metric].words} ({t.text})" if t.role else t.text for t in (self.left, self.right)]
        return f"{sides[0]} {RELATIONS[self.relation][0]} {sides[1]}"

    def holds(self, left: Any, right: Any) -> bool:
        """Whether the whole interval of `left` lies on its side of that of `right` (objects with `low` and `high`)."""
        return bool(left.low > right.high if RELATIONS[self.relation][1] else left.high < right.low)


def parse(text: str, roles: Mapping[str, str]) -> Rule:
    """The rule that `text` spells; `roles`: role -> how a reader calls it. UserError for anything that is none."""
    found = RULE.fullmatch(text)
    if not found or found[1] not in RELATIONS:
        raise UserError(f"not a rule: {text}; known are {', '.join(f'{name}(a, b)' for name in RELATIONS)}")
    left, right = (_term(side, text, roles) for side in found.groups()[1:])
    if not left.role:
        raise UserError(f"{text}: its left side is measured by no run")
    if RELATIONS[found[1]][2] and not right.role:
        raise UserError(f"{text}: {found[1]} compares two measurements; above and below take a bar")
    return Rule(text, found[1], left, right if right.role else right._replace(metric=left.metric))


def _term(side: str, text: str, roles: Mapping[str, str]) -> Term:
    """One side: number * (role.metric, a number, or printed("table", "column", "method")) + number."""
    found = OPERAND.fullmatch(side)
    if not found:
        raise UserError(f"{text}: {side} is neither role.metric, a number, nor printed(table, column, method)")
    role, metric, times = found["role"] or "", found["metric"] or "", float(found["times"] or 1)
    if role and role not in roles:
        raise UserError(f"{text}: unknown role {role!r}; known are {', '.join(roles)}")
    if role and metric not in TITLES:
        raise UserError(f"{text}: unknown metric {metric!r}; known are {', '.join(TITLES)}")
    name, value = roles.get(role, found["bar"]), float(found["bar"] or 0)
    if found["table"]:
        name, value = _printed(found["table"], found["column"], found["method"], text)
    plus = float(found["plus"] or 0) * (-1 if found["sign"] == "-" else 1)
    name = f"{times:g} x {name}" if found["times"] else name
    name = f"{name} {found['sign']} {found['plus']}" if found["sign"] else name
    return Term(name, role, metric, times, times * value + plus)


def _printed(table: str, column: str, method: str, text: str) -> tuple[str, float]:
    """Name and value of a number of the paper, per cent as a fraction."""
    if table not in reported.TABLES:
        raise UserError(f"{text}: printed takes a table, a column, a method; tables are {', '.join(reported.TABLES)}")
    found = reported.TABLES[table]
    return f"{method} in {table}", found.value(column, method) / (100 if found.columns[column].unit == "%" else 1)


@dataclass(frozen=True)
class Claim:
    """A claim as `claims.yml` has it; the file's head says what each field is."""

    id: str
    section: str
    place: str
    claim: str
    statistic: str
    rule: tuple[Rule, ...]
    scales: tuple[str, ...]
    chapters: tuple[str, ...]
    given: tuple[Rule, ...] = ()
    needs: str = ""


@cache
def load_ledger(path: Path = LEDGER) -> tuple[Roles, list[Claim]]:
    """Experiments by role, and claims. UserError for unknown fields, roles, metrics or scales, for a rule that is none,
    and for an id that is used twice."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    roles = content["roles"]
    for name, role in roles.items():
        if not {"title", "variant"} <= set(role) <= ROLE_FIELDS:
            known = ", ".join(sorted(ROLE_FIELDS))
            raise UserError(f"{path.name}: role {name} has {', '.join(role)}; known are {known}")
    titles = {name: role["title"] for name, role in roles.items()}
    claims = [_claim(entry, titles, path.name) for entry in content["claims"]]
    if len({claim.id for claim in claims}) < len(claims):
        raise UserError(f"{path.name}: an id is used twice")
    return roles, claims


def _claim(entry: Mapping[str, Any], titles: Mapping[str, str], name: str) -> Claim:
    unknown = set(entry) - {field.name for field in fields(Claim)} or set(entry["scales"]) - set(SCALES)
    if unknown:
        raise UserError(f"{name}: claim {entry['id']} has unknown {', '.join(sorted(unknown))}")
    if not entry["rule"] and not entry.get("needs"):
        raise UserError(f"{name}: claim {entry['id']} has neither a rule nor what it needs for one")
    rules = {key: tuple(parse(text, titles) for text in entry.get(key, ())) for key in ("rule", "given")}
    return Claim(**{**entry, **rules, "scales": tuple(entry["scales"]), "chapters": tuple(entry["chapters"])})
