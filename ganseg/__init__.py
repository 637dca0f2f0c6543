"""A reproducible companion to GANSeg: Learning to Segment by Unsupervised Hierarchical Image Generation (CVPR 2022)."""

from ganseg.experiments import Experiment, Run, find_runs, run
from ganseg.files import UserError

__all__ = ["Experiment", "Run", "UserError", "find_runs", "run"]
