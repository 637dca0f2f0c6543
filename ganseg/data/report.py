"""What a look at a data set's folder finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ganseg.files import UserError

EXAMPLES = 3


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, how often, with examples and what a person can do about it.

    `fatal`: the reader refuses. Otherwise it copes, and `remedy` says how.
    """

    what: str
    count: int
    examples: tuple[str, ...]
    remedy: str
    fatal: bool

    def __str__(self) -> str:
        shown = ", ".join(self.examples) + (", ..." if self.count > len(self.examples) else "")
        return f"{self.count:,} {self.what}{f' ({shown})' if self.examples else ''}. {self.remedy}"


@dataclass(frozen=True)
class Report:
    """A data set as found in `data_dir`.

    `counts`: split -> images that would be used; `expected`: split -> the paper's number, where known.
    `labels`: what can be evaluated, such as {"keypoints": 2889, "foreground masks": 0}.
    """

    name: str
    data_dir: Path
    counts: dict[str, int]
    expected: dict[str, int]
    labels: dict[str, int]
    problems: tuple[Problem, ...]

    def refuse(self) -> None:
        """Raise a UserError that lists the fatal problems, if there are any."""
        fatal = "".join(f"\n  {problem}" for problem in self.problems if problem.fatal)
        if fatal:
            raise UserError(f"{self.name} cannot be read from {self.data_dir}:{fatal}")


def problem(what: str, names: Iterable[str], remedy: str, fatal: bool = False) -> tuple[Problem, ...]:
    """A tuple of one problem about `names`, or of none where there are no names."""
    names = tuple(names)
    return (Problem(what, len(names), names[:EXAMPLES], remedy, fatal),) if names else ()


def differing_counts(counts: dict[str, int], expected: dict[str, int]) -> tuple[Problem, ...]:
    """A harmless problem for each split whose number of images is not the paper's."""
    return tuple(
        Problem(
            f"images in split {split}, where the paper's protocol has {number:,}",
            counts[split],
            (),
            "Results are not comparable with the paper's unless the numbers agree.",
            False,
        )
        for split, number in expected.items()
        if counts.get(split, number) != number
    )
