"""The claims ledger: what the paper claims (`claims.yml`), and a verdict on each claim, computed from finished runs.

Rules are written as `claims.yml` says; `~` takes two one-sided tests, `steadier than` distances from the median over
seeds (Brown and Forsythe 1974). A rule decides with all seeds of its experiments, at a scale where the claim can be
judged, unless a side has collapsed. Where several data sets allow it, it must hold on each. A claim is supported at the
largest p-value of its rules, opposed at the smallest times their number (Bonferroni). Of all claims those are called
reproduced, or contradicted, that pass Benjamini and Hochberg (1995): a share of `RATE` of either is expected to be
wrong. Claims share runs, so their p-values depend on each other positively, which that procedure allows.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import pandas as pd
import yaml
from scipy import stats

from ganseg import page, tables
from ganseg.baselines import COMPETITORS, reached
from ganseg.data import DATASETS, describe
from ganseg.experiments import Experiment
from ganseg.files import PACKAGE, UserError
from ganseg.recipes import PARTS, SCALES
from ganseg.runs import find_runs
from ganseg.studies import SEEDS, Interval, difference, interval, measurements
from ganseg.titles import TITLES

LEDGER, (SMALLEST, *LARGER) = PACKAGE / "claims.yml", SCALES
DEFAULTS = {"given": [], "needs": "", "collapse": False, "scales": LARGER}
REPRODUCED, CONTRADICTED, UNDECIDED, UNTESTED = "Reproduced", "Contradicted", "Undecided", "Untested"
RATE = 0.05
RULE = re.compile(r"(\S+) (>|<|~|steadier than) (?:([\d.]+) \* )?(.+?)(?: \+- ([\d.]+))?")
HOME = "synthetic-bird"  # where roles that leave the data set open are trained
Claim = Mapping[str, Any]


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
        return f"{self.name} {interval(self.values, self.metric)}" if self.metric else self.name


class Check(NamedTuple):
    """A rule `left relation right +- margin` on the runs of one scale and data set."""

    text: str
    left: Side
    relation: str
    right: Side
    margin: float
    scale: str
    data: str
    level: int = 0  # 3 decides, 2 something speaks against that, 1 seeds or scale are too few, 0 a side has no runs
    why: str = ""  # it does not decide
    supports: float = 1.0  # p-value against the rule being wrong
    opposes: float = 1.0  # p-value against its being right
    gap: Interval = Interval()  # left minus right

    @property
    def sides(self) -> list[Side]:
        """Those that runs measure."""
        return [side for side in (self.left, self.right) if side.role]

    def __str__(self) -> str:
        told = f"difference {self.gap}, p = {self.supports:.2g}" if self.level == 3 else self.why
        one, other = (TITLES[side.metric].words + ", " if side.metric else "" for side in (self.left, self.right))
        other = other if other != one else ""
        return f"{self.data} {self.scale}: {one}{self.left} against {other}{self.right}: {told}"

    def tested(self) -> Self:
        """With its p-values."""
        one, other, paired = self.left.values, self.right.values, "," not in self.data
        if self.relation == "steadier than":
            one, other, paired = (one - one.median()).abs(), (other - other.median()).abs(), False
        below, above = (difference(one, other, self.left.metric, m, paired) for m in (-self.margin, self.margin))
        supports, opposes = (above.higher, above.lower) if self.relation == ">" else (above.lower, above.higher)
        if self.relation == "~":
            supports, opposes = max(below.higher, above.lower), min(1.0, 2 * min(below.lower, above.higher))
        return self._replace(level=3, supports=supports, opposes=opposes, gap=above.gap)


class Ledger:
    """The file's roles and claims, and the `rows` of `measurements` that they are held against: a run each."""

    def __init__(self, rows: Iterable[Mapping[str, Any]] = (), path: Path = LEDGER) -> None:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        self.roles = {name: Role(**role) for name, role in content["roles"].items()}
        self.claims: list[Claim] = [DEFAULTS | claim for claim in content["claims"]]
        self.runs: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}  # by `Role.key`
        for row in rows:
            role = Role("", *(row[name] for name in ("variant", "data", "parts", "overrides")))
            self.runs.setdefault(role.key(row["scale"]), []).append(row)

    def read(self, text: str, scale: str = "", data: str = "") -> Check:
        """The rule that `text` spells and what the runs have of it, on `data` where a role leaves that open.

        UserError for anything that is no rule, and for unknown roles, metrics and tables.
        """
        if not (found := RULE.fullmatch(text)):
            raise UserError(f"{text!r} is no rule: role.metric, one of > < ~ or steadier than, and its bar or rival")
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

        def known(what: str, name: str, names: Mapping[str, Any]) -> Any:
            if name not in names:
                raise UserError(f"{text}: unknown {what} {name!r}; known are {', '.join(names)}")
            return names[name]

        if re.fullmatch(r"[\d.]+", side):
            return Side(side, pd.Series([float(side)]))
        if " / " in side:
            name, column, method = side.split(" / ", 2)
            table = known("table", name, tables.TABLES)
            value = table.value(column, method) / (100 if table.columns[column].unit == "%" else 1)
            return Side(f"{value:g} ({method} in {name})", pd.Series([value]))
        name, _, metric = side.partition(".")
        role = known("role", name, COMPETITORS | self.roles)
        known("metric", metric, TITLES)
        if isinstance(role, Role):
            rows = [row for row in self.runs.get(role.key(scale, data), ()) if pd.notna(row.get(metric))]
            values = pd.Series({row["seed"]: row[metric] for row in rows}, dtype=float)
            return Side(role.title, values, metric, role, rows)
        ready = rival and scale != SMALLEST and len(rival.rows) >= rival.role.seeds  # it takes a minute the first time
        values = reached(name, *rival.role.key(scale, data)[:3]).get(metric, []) if ready else []
        return Side(role[0], pd.Series(values, dtype=float).rename("start {}".format), metric)

    def measure(self, text: str, claim: Claim, scale: str, data: str) -> Check:
        """The rule of a claim on the runs at `scale`: tested, or why not."""
        check = self.read(text, scale, data)
        none = [f"no run has {TITLES[s.metric].words} of: {s.name}" for s in check.sides if not s.rows]
        few = [f"{s.name} has {len(s.rows)} of {s.role.seeds} seeds" for s in check.sides if len(s.rows) < s.role.seeds]
        few += [f"scale {scale} decides nothing"] * (scale == SMALLEST)
        few += [f"{data} has no bar of: {check.right.name}"] * check.right.values.empty
        if few:
            return check._replace(level=int(not none), why=(none + few)[0])
        gone = [side for side in check.sides if 2 * sum(row["collapsed"] for row in side.rows) >= len(side.rows)]
        given = [self.read(other, scale, data) for other in claim["given"]]
        given = [one for one in given if one.left.role in [side.role for side in check.sides]]
        whys = [f"scale {scale} is too small"] * (scale not in claim["scales"])
        whys += [f"{side.name} has collapsed" for side in gone if not claim["collapse"]]
        whys += [f"it does not hold that {one.text}" for one in given if one.tested().supports > RATE]
        return check._replace(level=2, why=whys[0]) if whys else check.tested()

    def weigh(self, claim: Claim) -> dict[str, Any]:
        """The checks of a claim on the data sets that decide it, or else on the one that has most; their p-values.

        Each at the largest scale that decides it, or else that has most of it.
        """
        scales = [scale for scale in reversed(SCALES) if any(key[0] == scale for key in self.runs)] or LARGER
        names = [name for name in DATASETS if any(key[1] == name for key in self.runs)] or [HOME]
        level = lambda check: check.level
        best = lambda text, data: max((self.measure(text, claim, scale, data) for scale in scales), key=level)
        cases = [[best(text, data) for text in claim["rule"]] for data in names]
        rank = lambda case: (min(map(level, case), default=0), sum(map(level, case)))
        top = max(map(rank, cases))
        chosen = [case for case in cases if rank(case) == top][: None if top[0] > 1 else 1]
        checks = list({(check.text, check.data): check for case in chosen for check in case}.values())
        live = [check for check in checks if check.level == 3]
        needs = [claim["needs"]] if not all(map(level, checks)) or not checks else []
        return {
            "checks": checks,
            "supports": max(check.supports for check in live) if live and len(live) == len(checks) else 1.0,
            "opposes": min([1.0, *(len(live) * check.opposes for check in live)]),
            "why": "; ".join(dict.fromkeys(filter(None, [*(check.why for check in checks), *needs]))),
            "verdict": UNDECIDED if max(map(level, checks), default=0) > 1 else UNTESTED,
            "live": bool(live),
        }

    def judged(self) -> pd.DataFrame:
        """A row a claim, in the paper's order: its fields, `verdict`, `why` not decided, the `checks` behind both."""
        frame = pd.DataFrame([claim | self.weigh(claim) for claim in self.claims])
        live = frame[frame["live"]]
        for word, column in ((REPRODUCED, "supports"), (CONTRADICTED, "opposes")) if len(live) else ():
            frame.loc[live.index[stats.false_discovery_control(live[column]) <= RATE], "verdict"] = word
        return frame


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
    return list({(one.name, str(one.overrides)): one for one in found}.values())


def evaluate_claims(results: str | Path | None = None) -> pd.DataFrame:
    """The ledger judged on the runs among the results; see `Ledger.judged`."""
    return Ledger(measurements(find_runs(results, own_settings=True)).to_dict("records")).judged()


def verdict(chapter: str, results: str | Path | None = None) -> dict[str, str]:
    """Display the verdicts on the claims that `chapter` measures; returns them by the claims' names."""
    chosen = [row for row in evaluate_claims(results).to_dict("records") if chapter in row["chapters"]]
    for row in chosen:
        page.judged(row["claim"], row["verdict"], [f"{c.text}. {c}" for c in row["checks"]], row["why"])
    return {row["id"]: row["verdict"] for row in chosen}
