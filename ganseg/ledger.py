"""The claims ledger judged: a verdict on every claim of the paper, computed from finished runs.

Rules compare means over seeds with their 95 % intervals. A verdict needs three seeds of every experiment that the rule
names, at a scale where the claim can be judged, on one data set at least; where several data sets allow it, the rule
must hold on each.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ganseg import studies
from ganseg.claims import LEDGER, Claim, Roles, Rule, Term, load_ledger
from ganseg.data import DATASETS
from ganseg.experiments import find_runs
from ganseg.recipes import PARTS, SCALES
from ganseg.titles import TITLES

REPRODUCED, NOT_REPRODUCED, NOT_TESTABLE = "Reproduced", "Not reproduced", "Not testable at this scale"
Runs = Mapping[tuple[Any, ...], Sequence[Mapping[str, Any]]]


class Measured(NamedTuple):
    """One side of a rule: mean and 95 % interval over seeds; a bar has no seeds and no width."""

    name: str
    metric: str
    mean: float
    low: float
    high: float
    seeds: tuple[int, ...]
    runs: tuple[Any, ...]

    @property
    def words(self) -> str:
        """`full model 0.80 [0.77, 0.83]`, `0.551 (a method in Table 2)`, `1`; one seed has no brackets."""
        value, low, high = (number(self.metric, v) for v in (self.mean, self.low, self.high))
        if not self.runs and self.mean == self.mean:
            return self.name if self.name == f"{self.mean:g}" else f"{value} ({self.name})"
        return f"{self.name} {value}" + (f" [{low}, {high}]" if len(self.seeds) > 1 else "")


def number(metric: str, value: float) -> str:
    """`value` with the digits of its metric; a dash for NaN."""
    return "–" if value is None or math.isnan(value) else f"{value:.{TITLES[metric].digits}f}"


class Check(NamedTuple):
    """One rule of a claim on one data set at one scale; `why_not` is empty where it decides."""

    rule: Rule
    data: str
    scale: str
    left: Measured
    right: Measured
    holds: bool
    why_not: str

    @property
    def words(self) -> str:
        """What was measured, as a sentence."""
        same, sides = self.left.metric == self.right.metric, (self.left, self.right)
        told = [side.words if same else f"{TITLES[side.metric].words} {side.words}" for side in sides]
        what = f"{TITLES[self.left.metric].words}, " if same else ""
        return f"{self.data}, {self.scale}: {what}{told[0]} against {told[1]}: {self.outcome}"

    @property
    def measured(self) -> list[Measured]:
        """The sides that runs measure, or should have."""
        pairs = ((self.rule.left, self.left), (self.rule.right, self.right))
        return [side for term, side in pairs if term.role]

    @property
    def missing(self) -> int:
        """How many of them no run has."""
        return sum(not side.runs for side in self.measured)

    @property
    def outcome(self) -> str:
        """How the two sides lie."""
        if self.why_not:
            return "undecided"
        apart = self.left.low > self.right.high or self.left.high < self.right.low
        return "holds" if self.holds else "the other way round" if apart else "intervals overlap"


def measurements(results: str | Path | None = None) -> Runs:
    """All finished runs among the results: (scale, data, variant, K, overrides as JSON) -> a row a seed, of metrics,
    `seed`, `train_images`, the `run`, and the counts of `studies.counts`."""
    runs: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in find_runs(results, own_settings=True):
        p = run.provenance
        row = run.metrics | studies.counts(run) | {"seed": p.get("seed"), "train_images": p.get("train_images")}
        key = _key(p["scale"], p["data"], p["variant"], p["parts"], p["overrides"])
        runs.setdefault(key, []).append(row | {"run": run})
    return runs


def _key(scale: str, data: str, variant: str, parts: int, overrides: Mapping[str, Any]) -> tuple[Any, ...]:
    settings = {name: str(value) for name, value in overrides.items()}  # words of a command line, values of a notebook
    return scale, data, variant, parts, json.dumps(settings, sort_keys=True)


def evaluate_claims(results: str | Path | None = None, ledger: Path = LEDGER) -> pd.DataFrame:
    """The ledger judged on the runs among the results: a row a claim, in the paper's order.

    Columns: those of the file, `rule` in words, `verdict`, `why` it could not be tested, `measured` in words,
    `scale`, `data`, the least number of `seeds`, and two lists, `checks` (`Check`) and `runs`.
    """
    (roles, claims), runs = load_ledger(ledger), measurements(results)
    return pd.DataFrame([_judged(claim, roles, runs) for claim in claims])


def _judged(claim: Claim, roles: Roles, runs: Runs) -> dict[str, Any]:
    cases = [_checks(claim, roles, runs, data) for data in _data_sets(claim, roles, runs)]
    decided = [case for case in cases if case and not any(check.why_not for check in case)]
    best = min(cases, key=lambda case: sum(check.missing for check in case))
    checks = [check for case in decided or [best] for check in case]
    word = REPRODUCED if all(check.holds for check in checks) else NOT_REPRODUCED
    reasons = dict.fromkeys(f"{check.why_not}." for check in checks if check.why_not)
    sides = [side for check in checks for side in check.measured]
    told = {name: getattr(claim, name) for name in ("id", "section", "place", "claim", "statistic")}
    return told | {
        "rule": "; ".join(rule.words for rule in claim.rule) or "none",
        "verdict": word if decided else NOT_TESTABLE,
        "why": "" if decided else " ".join([*reasons, claim.needs]).strip(),
        "measured": "; ".join(check.words for check in checks if check.scale),
        "scale": _listed(check.scale for check in checks),
        "data": _listed(check.data for check in checks),
        "seeds": min((len(side.seeds) for side in sides), default=0),
        "chapters": claim.chapters,
        "checks": checks,
        "runs": list({run.directory: run for side in sides for run in side.runs}.values()),
    }


def _data_sets(claim: Claim, roles: Roles, runs: Runs) -> list[str]:
    """The data sets that the open roles of a claim can take; one empty name for none."""
    names = {name for rule in claim.rule for name in rule.roles if "data" not in roles[name]}
    there = lambda data: any(_rows(runs, roles[name], data, scale) for name in names for scale in SCALES)
    return [data for data in DATASETS if there(data)] or [""]


def _checks(claim: Claim, roles: Roles, runs: Runs, data: str) -> list[Check]:
    """Each rule of the claim on `data`, at the best scale that decides it, or else the best that has most of it."""
    scales = list(reversed(SCALES))
    tried = [[_check(claim, rule, roles, runs, data, scale) for scale in scales] for rule in claim.rule]
    return [min(checks, key=lambda check: (bool(check.why_not), check.missing)) for checks in tried]


def _check(claim: Claim, rule: Rule, roles: Roles, runs: Runs, data: str, scale: str) -> Check:
    measured = lambda one: [_measure(term, roles, runs, data, scale) for term in (one.left, one.right)]
    left, right = measured(rule)
    why = _lack(rule.left, left, claim, scale) or _lack(rule.right, right, claim, scale)
    for condition in claim.given:
        if not why and condition.roles & rule.roles and not condition.holds(*measured(condition)):
            why = f"It does not hold that {condition.words}"
    names = _listed(sorted({roles[name].get("data", data) for name in rule.roles}))
    return Check(rule, names, scale if left.runs or right.runs else "", left, right, rule.holds(left, right), why)


def _lack(term: Term, side: Measured, claim: Claim, scale: str) -> str:
    """Why a side of a rule decides nothing at `scale`; empty where it does."""
    if term.role and not side.runs:
        return f"No run has {TITLES[term.metric].words} of: {side.name}"
    if scale not in claim.scales:
        return f"Scale {scale} is too small"
    few = term.role and len(side.seeds) < studies.SEEDS
    return f"{side.name} has {len(side.seeds)} of {studies.SEEDS} seeds" if few else ""


def _measure(term: Term, roles: Roles, runs: Runs, data: str, scale: str) -> Measured:
    """A side of a rule on `data` at `scale`; NaN where no run has it."""
    if not term.role:
        return Measured(term.text, term.metric, term.offset, term.offset, term.offset, (), ())
    rows = _rows(runs, roles[term.role], data, scale)
    rows = [row for row in rows if not math.isnan(row.get(term.metric, math.nan))]
    values = [row[term.metric] * term.factor + term.offset for row in rows]
    seeds, behind = (tuple(row[name] for row in rows) for name in ("seed", "run"))
    return Measured(term.text, term.metric, *studies.interval(values), seeds, behind)


def _rows(runs: Runs, role: Mapping[str, Any], data: str, scale: str) -> Sequence[Mapping[str, Any]]:
    """The rows of the runs that play `role`, its data set being `data` where it is open."""
    data = role.get("data", data)
    parts = role.get("parts", PARTS.get(data, 8))
    return runs.get(_key(scale, data, role["variant"], parts, role.get("overrides", {})), ())


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(name for name in names if name))
