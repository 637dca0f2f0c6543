"""The claims of the paper as `claims.yml` has them: where each stands, and the rule that decides it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ganseg.chapters.rules import Rule, parse
from ganseg.files import UserError
from ganseg.recipes import SCALES

LEDGER = Path(__file__).with_name("claims.yml")
ROLE_FIELDS = {"title", "variant", "data", "parts", "overrides"}
Roles = Mapping[str, Mapping[str, Any]]


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

    @property
    def words(self) -> str:
        """The rule as a sentence."""
        return "; ".join(rule.words for rule in self.rule) or "none"


class Ledger(NamedTuple):
    """The whole file: experiments by role, and claims."""

    roles: Roles
    claims: Sequence[Claim]


@cache
def load_ledger(path: Path = LEDGER) -> Ledger:
    """Read the ledger. UserError for unknown fields, roles, metrics or scales, for a rule that is none, and
    for an id that is used twice."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    roles = content["roles"]
    for name, role in roles.items():
        if not {"title", "variant"} <= set(role) <= ROLE_FIELDS:
            raise UserError(
                f"{path.name}: role {name} has {', '.join(role)}; known are {', '.join(sorted(ROLE_FIELDS))}"
            )
    titles = {name: role["title"] for name, role in roles.items()}
    claims = [_claim(entry, titles, path.name) for entry in content["claims"]]
    if len({claim.id for claim in claims}) < len(claims):
        raise UserError(f"{path.name}: an id is used twice")
    return Ledger(roles, claims)


def _claim(entry: Mapping[str, Any], titles: Mapping[str, str], name: str) -> Claim:
    unknown = set(entry) - {field.name for field in fields(Claim)}
    strange = set(entry["scales"]) - set(SCALES)
    if unknown or strange:
        raise UserError(f"{name}: claim {entry['id']} has unknown {', '.join(sorted(unknown or strange))}")
    if not entry["rule"] and not entry.get("needs"):
        raise UserError(f"{name}: claim {entry['id']} has neither a rule nor what it needs for one")
    rules = {key: tuple(parse(text, titles) for text in entry.get(key, ())) for key in ("rule", "given")}
    return Claim(**{**entry, **rules, "scales": tuple(entry["scales"]), "chapters": tuple(entry["chapters"])})
