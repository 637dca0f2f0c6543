"""The claims ledger: what the paper claims (`claims.yml`), and a verdict on each claim, computed from finished runs.

    full.iou > no_points.iou                              two measurements, or a measurement and a bar
    full.ari_foreground > grid.ari_foreground             the bar is what a competitor that learned nothing reaches
    cub.iou ~ Table 2 / cub / ReDO [4] +- 0.05            equal up to a margin: two one-sided tests
    full.iou steadier than one_point.iou                  nearer to the median over seeds (Brown and Forsythe 1974)

A rule decides with all seeds of its experiments, at a scale where the claim can be judged, unless a side has collapsed.
Where several data sets allow it, it must hold on each. A claim is supported at the largest p-value of its rules,
opposed at the smallest times their number (Bonferroni). Of all claims those are called reproduced, or contradicted,
that pass Benjamini and Hochberg (1995): a share of `RATE` of either is expected to be wrong. Claims share runs, so
their p-values depend on each other positively, which that procedure allows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml
from scipy import stats

from ganseg import page, reported
from ganseg.data import DATASETS, describe
from ganseg.experiments import Experiment
from ganseg.files import PACKAGE, UserError
from ganseg.recipes import PARTS, SCALES
from ganseg.studies import SEEDS, Interval, difference, interval, measurements
from ganseg.titles import TITLES
from ganseg.trivial import COMPETITORS, reached

LEDGER, (SMALLEST, *LARGER) = PACKAGE / "claims.yml", SCALES
FIELDS = "id section place claim statistic rule given scales needs collapse chapters".split()  # see the file's head
DEFAULTS = {"given": [], "needs": "", "collapse": False, "scales": LARGER}
VERDICTS = REPRODUCED, CONTRADICTED, UNDECIDED, UNTESTED = "Reproduced", "Contradicted", "Undecided", "Untested"
RATE = 0.05
RULE = re.compile(r"(\S+) (>|<|~|steadier than) (?:([\d.]+) \* )?(.+?)(?: \+- ([\d.]+))?")
HOME = "synthetic-bird"  # where roles that leave the data set open are trained
Claim = Mapping[str, Any]
Runs = Mapping[tuple[Any, ...], Sequence[Mapping[str, Any]]]  # `Role.key` -> a row a seed, as of `measurements`


class Role(NamedTuple):
    """An experiment; without `data` one on any data set, without `parts` with the data set's usual K."""

    title: str
    variant: str = "paper"
    data: str = ""
    parts: int = 0
    overrides: Mapping[str, Any] = {}
    seeds: int = SEEDS

    def key(self, scale: str, data: str = "") -> tuple[Any, ...]:
        """What its runs at `scale` have in common, on `data` where the role leaves that open."""
        data = self.data or data
        own = frozenset((name, str(value)) for name, value in self.overrides.items())  # a command line has text only
        return scale, data, self.parts or PARTS.get(data, 8), self.variant, own


class Side(NamedTuple):
    """One side of a rule: `values` by seed, of a competitor by start; the `rows` of the runs behind it."""

    name: str
    values: pd.Series
    metric: str = ""
    role: Role | None = None
    rows: Sequence[Mapping[str, Any]] = ()

    def __str__(self) -> str:
        shown = interval(self.values, self.metric) if self.rows else Interval(self.values.mean())
        return f"{self.name} {shown}" if self.metric else self.name


class Check(NamedTuple):
    """A rule `left relation right +- margin` on the runs of one scale and data set."""

    text: str
    left: Side
    relation: str
    right: Side
    margin: float = 0.0
    scale: str = ""
    data: str = ""
    level: int = 0  # 2 where it decides, 1 where something speaks against that, 0 where runs are missing
    why: str = ""  # it does not decide
    supports: float = 1.0  # p-value against the rule being wrong
    opposes: float = 1.0  # p-value against its being right
    gap: Interval = Interval()  # left minus right

    @property
    def sides(self) -> list[Side]:
        """Those that runs measure."""
        return [side for side in (self.left, self.right) if side.role]

    def __str__(self) -> str:
        if not self.measured:
            return self.why
        told = f"difference {self.gap}, p = {self.supports:.2g}" if self.level == 2 else self.why
        one, other = (TITLES[side.metric].words + ", " if side.metric else "" for side in (self.left, self.right))
        other = other if other != one else ""
        return f"{self.data} {self.scale}: {one}{self.left} against {other}{self.right}: {told}"

    @property
    def measured(self) -> int:
        """How many of them runs have values of."""
        return sum(len(side.rows) > 0 for side in self.sides)

    def tested(self) -> Check:
        """With its p-values."""
        one, other, paired = self.left.values, self.right.values, "," not in self.data
        if self.relation == "steadier than":
            one, other, paired = (one - one.median()).abs(), (other - other.median()).abs(), False
        below, above = (difference(one, other, self.left.metric, m, paired) for m in (-self.margin, self.margin))
        supports, opposes = (above.higher, above.lower) if self.relation == ">" else (above.lower, above.higher)
        if self.relation == "~":
            supports, opposes = max(below.higher, above.lower), min(1.0, 2 * min(below.lower, above.higher))
        return self._replace(level=2, supports=supports, opposes=opposes, gap=above.gap)


class Ledger:
    """The file's roles and claims, and the runs that they are held against."""

    def __init__(self, runs: Runs | None = None, path: Path = LEDGER) -> None:
        """UserError for unknown or missing fields of a claim, and for what is no rule."""
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        self.runs, self.roles = runs or {}, {name: Role(**role) for name, role in content["roles"].items()}
        self.claims: list[Claim] = [DEFAULTS | claim for claim in content["claims"]]
        for claim in self.claims:
            wrong = set(claim) ^ set(FIELDS) or set(claim["scales"]) - set(SCALES)
            if wrong or not (claim["rule"] or claim["needs"]):
                fault = (
                    f"unknown or missing {', '.join(sorted(wrong))}" if wrong else "neither a rule nor what it needs"
                )
                raise UserError(f"{path.name}: claim {claim.get('id')} has {fault}")
            _ = [self.read(text) for text in (*claim["rule"], *claim["given"])]

    def read(self, text: str, scale: str = "", data: str = "") -> Check:
        """The rule that `text` spells and what the runs have of it, on `data` where a role leaves that open.

        UserError for anything that is no rule, and for unknown roles, metrics and tables.
        """
        if not (found := RULE.fullmatch(text)):
            raise UserError(
                f"{text!r} is no rule: role.metric, one of > < ~ or steadier than, and what it is held against"
            )
        one, relation, times, other, margin = found.groups()
        left = self._side(one, text, scale, data)
        if not left.role:
            raise UserError(f"{text}: its left side is measured by no run")
        right = self._side(other, text, scale, data, left)
        if times:
            right = right._replace(name=f"{times} x {right.name}", values=right.values * float(times))
        if not right.role and len(right.values) == 1:  # a bar: the same for each seed
            right = right._replace(values=pd.Series(right.values.iloc[0], left.values.index))
        names = dict.fromkeys(side.role.data or data for side in (left, right) if side.role)
        return Check(text, left, relation, right, float(margin or 0), scale, ", ".join(names))

    def _side(self, side: str, text: str, scale: str, data: str, rival: Side | None = None) -> Side:
        """name.metric, a number, or table / column / method (per cent as a fraction); `rival`: of a competitor."""
        if re.fullmatch(r"[\d.]+", side):
            return Side(side, pd.Series([float(side)]))
        if " / " in side:
            name, column, method = side.split(" / ", 2)
            table = _known("table", name, reported.TABLES, text)
            value = table.value(column, method) / (100 if table.columns[column].unit == "%" else 1)
            return Side(f"{value:g} ({method} in {name})", pd.Series([value]))
        name, _, metric = side.partition(".")
        _known("role", name, self.roles | COMPETITORS, text)
        _known("metric", metric, TITLES, text)
        if role := self.roles.get(name):
            rows = [row for row in self.runs.get(role.key(scale, data), ()) if pd.notna(row.get(metric))]
            return Side(
                role.title, pd.Series({row["seed"]: row[metric] for row in rows}, dtype=float), metric, role, rows
            )
        ready = rival and scale != SMALLEST and len(rival.rows) >= rival.role.seeds  # it takes a minute the first time
        known = reached(name, *rival.role.key(scale, data)[:3]) if ready else {}
        values = pd.Series(known.get(metric, []), dtype=float).rename("start {}".format)
        return Side(COMPETITORS[name][0], values, metric)

    def measure(self, text: str, claim: Claim, scale: str, data: str) -> Check:
        """The rule of a claim on the runs at `scale`: tested, or why not."""
        check = self.read(text, scale, data)
        lack = [
            f"no run has {TITLES[s.metric].words} of: {s.name}"
            for s in (check.left, check.right)
            if s.metric and s.values.empty
        ]
        lack += [
            f"{s.name} has {len(s.rows)} of {s.role.seeds} seeds" for s in check.sides if len(s.rows) < s.role.seeds
        ]
        lack += [f"scale {scale} decides nothing"] if scale == SMALLEST else []
        if lack:
            return check._replace(why=lack[0])
        whys = [f"scale {scale} is too small"] if scale not in claim["scales"] else []
        for side in check.sides if not claim["collapse"] else ():
            gone = sum(row["collapsed"] for row in side.rows)
            whys += [f"{side.name} has collapsed ({gone} runs)"] if 2 * gone >= len(side.rows) else []
        for given in (self.read(other, scale, data) for other in claim["given"]):
            if given.left.role in [side.role for side in check.sides] and given.tested().supports > RATE:
                whys.append(f"it does not hold that {given.text}")
        return check._replace(level=1, why=whys[0]) if whys else check.tested()

    def best(self, text: str, claim: Claim, data: str) -> Check:
        """The rule at the largest scale that decides it, or else that has most of it."""
        scales = [scale for scale in reversed(SCALES) if any(key[0] == scale for key in self.runs)] or LARGER[:1]
        tried = [self.measure(text, claim, scale, data) for scale in scales]
        return max(tried, key=lambda check: (check.level, check.measured))

    def weigh(self, claim: Claim) -> dict[str, Any]:
        """The checks of a claim on the data sets that decide it, or else on the one that has most; their p-values."""
        names = [name for name in DATASETS if any(key[1] == name for key in self.runs)] or [HOME]
        cases = [[self.best(text, claim, data) for text in claim["rule"]] for data in names]
        least = lambda case: min((check.level for check in case), default=0)
        rank = lambda case: (least(case), sum(check.level for check in case), sum(check.measured for check in case))
        top = max(map(rank, cases))
        chosen = [case for case in cases if rank(case) == top][: None if top[0] else 1]
        checks = list({(check.text, check.data): check for case in chosen for check in case}.values())
        live = [check for check in checks if check.level == 2]
        supports = max(check.supports for check in live) if live and len(live) == len(checks) else 1.0
        opposes = min([1.0, *(len(live) * check.opposes for check in live)])
        missing = not checks or any(check.measured < len(check.sides) for check in checks)
        whys = dict.fromkeys([*(check.why for check in checks), claim["needs"] if missing else ""])
        why = "; ".join(filter(None, whys))
        return {"checks": checks, "supports": supports, "opposes": opposes, "why": why, "live": bool(live)}

    def judged(self) -> pd.DataFrame:
        """A row a claim, in the paper's order: its fields, `verdict`, `why` not decided, the `checks` behind both."""
        frame = pd.DataFrame([claim | self.weigh(claim) for claim in self.claims])
        frame["verdict"] = [UNDECIDED if any(c.level for c in checks) else UNTESTED for checks in frame["checks"]]
        live = frame[frame["live"]]
        for word, column in ((REPRODUCED, "supports"), (CONTRADICTED, "opposes")) if len(live) else ():
            passed = stats.false_discovery_control(live[column]) <= RATE
            frame.loc[live.index[passed], "verdict"] = word
        return frame


def _known(what: str, name: str, known: Mapping[str, Any], text: str) -> Any:
    if name not in known:
        raise UserError(f"{text}: unknown {what} {name!r}; known are {', '.join(known)}")
    return known[name]


def planned(scale: str, data: str = "", data_dir: str | Path | None = None) -> list[Experiment]:
    """The experiments that the ledger asks for, seed by seed; on data sets that lie in a folder, those of `data` only.

    None at the smallest scale, where nothing is decided.
    """
    found = []
    for role in Ledger().roles.values() if scale != SMALLEST else ():
        name = role.data or HOME
        if not describe(name).needs_dir or (data_dir and name == data):
            told = {"data_dir": data_dir if name == data else None, "overrides": role.overrides, "scale": scale}
            found += [Experiment(name, role.variant, role.parts or None, seed, **told) for seed in range(role.seeds)]
    return found


def evaluate_claims(results: str | Path | None = None) -> pd.DataFrame:
    """The ledger judged on the runs among the results; see `Ledger.judged`."""
    runs: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in measurements(results):
        role = Role("", *(row[name] for name in ("variant", "data", "parts", "overrides")))
        runs.setdefault(role.key(row["scale"]), []).append(row)
    return Ledger(runs).judged()


def verdict(chapter: str, results: str | Path | None = None) -> dict[str, str]:
    """Display the verdicts on the claims that `chapter` measures; returns them by the claims' names."""
    ledger = evaluate_claims(results)
    chosen = ledger[[chapter in chapters for chapters in ledger["chapters"]]]
    for row in chosen.to_dict("records"):
        page.judged(row["claim"], row["verdict"], [f"{c.text}. {c}" for c in row["checks"]], row["why"])
    return dict(zip(chosen["id"], chosen["verdict"], strict=True))
