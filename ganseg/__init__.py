"""A reproducible companion to GANSeg: Learning to Segment by Unsupervised Hierarchical Image Generation (CVPR 2022)."""

from ganseg.errors import UserError
from ganseg.experiments import Experiment, Run, find_runs, run

__all__ = ["Experiment", "Run", "UserError", "find_runs", "run"]
