"""The claims ledger: what the paper claims (`claims.yml`), and a verdict on each claim, computed from finished runs.

    higher(full.iou, no_points.iou)             two measurements, 95 % intervals apart
    below(full.landmark_error_ratio, 1)         a measurement and a bar
    above(cub.iou, printed("Table 2", "cub", "ReDO [4]") - 0.05)

A rule is parsed, never run as code. It decides with three seeds of every experiment that it names, at a scale where
the claim can be judged; where several data sets allow it, it must hold on each.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from ganseg import reported
from ganseg.data import DATASETS
from ganseg.files import PACKAGE, UserError
from ganseg.recipes import PARTS, SCALES
from ganseg.studies import SEEDS, Interval, interval, measurements
from ganseg.titles import TITLES

LEDGER = PACKAGE / "claims.yml"
FIELDS = (
    "id section place claim statistic rule given scales needs chapters".split()
)  # the file's head says what each is
REPRODUCED, NOT_REPRODUCED, NOT_TESTABLE = "Reproduced", "Not reproduced", "Not testable at this scale"
# Relation -> how it reads, and the order that it asks for: +1 where the left side must be the higher one.
RELATIONS = {
    "higher": ("is higher than", +1),
    "lower": ("is lower than", -1),
    "above": ("is above", +1),
    "below": ("is below", -1),
}
RULE = re.compile(rf"({'|'.join(RELATIONS)})\((.+?), (.+)\)")
OPERAND = re.compile(
    r"""(?:(?P<times>[\d.]+)\ \*\ )?
    (?:(?P<role>\w+)\.(?P<metric>[a-z]\w*) | (?P<bar>[\d.]+)
      | printed\("(?P<table>.+)",\ "(?P<column>.+)",\ "(?P<method>.+)"\))
    (?:\ (?P<sign>[+-])\ (?P<plus>[\d.]+))?""",
    re.VERBOSE,
)
Claim = Mapping[str, Any]
Runs = Mapping[tuple[Any, ...], Sequence[Mapping[str, Any]]]  # `Role.key` -> a row a seed, as of `measurements`


class Role(NamedTuple):
    """An experiment; without `data` one on any data set, without `parts` with the data set's usual K."""

    title: str
    variant: str
    data: str = ""
    parts: int = 0
    overrides: Mapping[str, Any] = {}

    def key(self, scale: str, data: str = "") -> tuple[Any, ...]:
        """What its runs at `scale` have in common, on `data` where the role leaves that open."""
        data = self.data or data
        own = frozenset((name, str(value)) for name, value in self.overrides.items())  # a command line has text only
        return scale, data, self.variant, self.parts or PARTS.get(data, 8), own


class Side(NamedTuple):
    """One side of a rule: factor * metric + offset of the runs of a role, or without a role the bar `offset`."""

    name: str
    role: Role | None
    metric: str
    factor: float
    offset: float
    interval: Interval = Interval()
    rows: Sequence[Mapping[str, Any]] = ()

    def measured(self, runs: Runs, scale: str, data: str) -> Side:
        """The same with its rows among the runs, one a seed, and their interval."""
        if not self.role:
            return self._replace(interval=Interval(self.offset, self.offset, self.offset))
        rows = [row for row in runs.get(self.role.key(scale, data), ()) if pd.notna(row.get(self.metric))]
        return self._replace(interval=interval(row[self.metric] * self.factor + self.offset for row in rows), rows=rows)


class Rule(NamedTuple):
    """`relation(left, right)`; once measured, also where, and why it decides nothing there."""

    text: str
    relation: str
    left: Side
    right: Side
    scale: str = ""
    data: str = ""
    why_not: str = ""

    @property
    def words(self) -> str:
        """The rule as a sentence."""
        one, other = (f"{TITLES[s.metric].words} ({s.name})" if s.role else s.name for s in (self.left, self.right))
        return f"{one} {RELATIONS[self.relation][0]} {other}"

    @property
    def sides(self) -> list[Side]:
        """Those that runs measure."""
        return [side for side in (self.left, self.right) if side.role]

    @property
    def missing(self) -> int:
        """How many of them no run has."""
        return sum(not side.rows for side in self.sides)

    @property
    def order(self) -> int:
        """+1 where the whole interval of the left side lies above that of the right, -1 below it, 0 if they overlap."""
        left, right = self.left.interval, self.right.interval
        return (left.low > right.high) - (left.high < right.low)

    @property
    def holds(self) -> bool:
        """Whether the sides lie as the relation says."""
        return self.order == RELATIONS[self.relation][1]

    def measured(self, runs: Runs, scale: str, data: str) -> Rule:
        """The same with both sides measured; no scale where no run has any."""
        left, right = (side.measured(runs, scale, data) for side in (self.left, self.right))
        names = ", ".join(sorted({side.role.data or data for side in self.sides} - {""}))
        return self._replace(left=left, right=right, data=names, scale=scale if left.rows or right.rows else "")


def load_ledger(path: Path = LEDGER) -> list[dict[str, Any]]:
    """The claims of the file, by its fields. UserError for unknown or missing ones, and where `parse` finds no rule."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    roles, claims = {name: Role(**role) for name, role in content["roles"].items()}, []
    for entry in content["claims"]:
        claim = {"given": [], "needs": ""} | entry
        wrong = set(claim) ^ set(FIELDS) or set(claim["scales"]) - set(SCALES)
        if wrong or not (claim["rule"] or claim["needs"]):
            fault = f"unknown or missing {', '.join(sorted(wrong))}" if wrong else "neither a rule nor what it needs"
            raise UserError(f"{path.name}: claim {entry.get('id')} has {fault}")
        claims.append(claim | {key: [parse(text, roles) for text in claim[key]] for key in ("rule", "given")})
    return claims


def parse(text: str, roles: Mapping[str, Role]) -> Rule:
    """The rule that `text` spells. UserError for anything that is none, and for unknown roles, metrics and tables."""
    found = RULE.fullmatch(text)
    operands = [OPERAND.fullmatch(side) for side in found.groups()[1:]] if found else [None]
    if not all(operands):
        known = f"{', '.join(RELATIONS)}; sides are role.metric, a number, or printed(table, column, method)"
        raise UserError(f"not a rule: {text}; rules are relation(side, side), relations {known}")
    left, right = (_side(operand.groupdict(), text, roles) for operand in operands)
    if not left.role:
        raise UserError(f"{text}: its left side is measured by no run")
    return Rule(text, found[1], left, right if right.role else right._replace(metric=left.metric))


def _side(found: Mapping[str, Any], text: str, roles: Mapping[str, Role]) -> Side:
    """number * (role.metric, a number, or printed("table", "column", "method")) + number; per cent as a fraction."""
    for what, known in (("role", roles), ("metric", TITLES), ("table", reported.TABLES)):
        if found[what] and found[what] not in known:
            raise UserError(f"{text}: unknown {what} {found[what]!r}; known are {', '.join(known)}")
    role, name, value = roles.get(found["role"]), found["bar"], float(found["bar"] or 0)
    if found["table"]:
        table, name = reported.TABLES[found["table"]], f"{found['method']} in {found['table']}"
        value = table.value(found["column"], found["method"])
        value /= 100 if table.columns[found["column"]].unit == "%" else 1
    name, times = role.title if role else name, float(found["times"] or 1)
    name = f"{times:g} x {name}" if found["times"] else name
    name = f"{name} {found['sign']} {found['plus']}" if found["sign"] else name
    plus = float(f"{found['sign'] or ''}{found['plus'] or 0}")
    return Side(name, role, found["metric"] or "", times, times * value + plus)


def evaluate_claims(results: str | Path | None = None) -> pd.DataFrame:
    """The ledger judged on the runs among the results: a row a claim, in the paper's order.

    Columns: those of the file, `verdict`, `why` it could not be tested, and `checks`, the measured rules behind both:
    on the data sets that decide, or else on the one that has most of the runs.
    """
    runs: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in measurements(results):
        role = Role("", *(row[name] for name in ("variant", "data", "parts", "overrides")))
        runs.setdefault(role.key(row["scale"]), []).append(row)
    return pd.DataFrame([claim | _judged(claim, runs) for claim in load_ledger()])


def _judged(claim: Claim, runs: Runs) -> dict[str, Any]:
    cases = [[_best(rule, claim, runs, data) for rule in claim["rule"]] for data in _data_sets(claim, runs)]
    decided = [case for case in cases if case and not any(rule.why_not for rule in case)]
    if decided:
        checks = list(itertools.chain(*decided))
        verdict = REPRODUCED if all(rule.holds for rule in checks) else NOT_REPRODUCED
        return {"verdict": verdict, "why": "", "checks": checks}
    checks = min(cases, key=lambda case: sum(rule.missing for rule in case))
    reasons = dict.fromkeys(f"{rule.why_not}." for rule in checks if rule.why_not)
    return {"verdict": NOT_TESTABLE, "why": " ".join([*reasons, claim["needs"]]).strip(), "checks": checks}


def _data_sets(claim: Claim, runs: Runs) -> list[str]:
    """The data sets that the open roles of a claim can take; one empty name for none."""
    roles = [side.role for rule in claim["rule"] for side in rule.sides if not side.role.data]
    there = lambda data: any(role.key(scale, data) in runs for role in roles for scale in SCALES)
    return [data for data in DATASETS if there(data)] or [""]


def _best(rule: Rule, claim: Claim, runs: Runs, data: str) -> Rule:
    """The rule on `data`, at the best scale that decides it, or else the best that has most of it."""
    tried = []
    for scale in reversed(SCALES):
        found = rule.measured(runs, scale, data)
        given = [condition.measured(runs, scale, data) for condition in claim["given"]]
        tried.append(found._replace(why_not=_lack(found, claim, scale, given)))
    return min(tried, key=lambda found: (bool(found.why_not), found.missing))


def _lack(rule: Rule, claim: Claim, scale: str, given: Iterable[Rule]) -> str:
    """Why a measured rule decides nothing at `scale`, or where a condition on its runs does not hold; else empty."""
    for side in rule.sides:
        if not side.rows:
            return f"No run has {TITLES[side.metric].words} of: {side.name}"
        if scale not in claim["scales"]:
            return f"Scale {scale} is too small"
        if len(side.rows) < SEEDS:
            return f"{side.name} has {len(side.rows)} of {SEEDS} seeds"
    roles = [side.role for side in rule.sides]
    unmet = [one for one in given if any(side.role in roles for side in one.sides) and not one.holds]
    return f"It does not hold that {unmet[0].words}" if unmet else ""
