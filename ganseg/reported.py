"""The numbers that the paper prints, and the best of later work on the same metrics, each with its source.

He, Wandt and Rhodin, "GANSeg: Learning to Segment by Unsupervised Hierarchical Image Generation", CVPR 2022.
Methods and types are named as printed, reference numbers included. A cell printed as a dash has no value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ganseg.files import UserError


@dataclass(frozen=True)
class Column:
    """A column of a table: `key` names it in code, `digits` are those printed, `unit` is "%" or empty."""

    key: str
    title: str
    better: Literal["lower", "higher"]
    digits: int
    unit: str = ""


@dataclass(frozen=True)
class Row:
    """What one method scores: column key -> number, in the column's unit; `marks`: column key -> its mark."""

    method: str
    type: str
    values: Mapping[str, float]
    source: str
    marks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table of the paper: its rows as printed, rows of later work, the meaning of each mark, our remarks.

    The type of a row of later work says what else it needs (a pretrained network, masks).
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    later: tuple[Row, ...] = ()
    marks: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def column(self, key: str) -> Column:
        """The column named `key`."""
        for column in self.columns:
            if column.key == key:
                return column
        known = ", ".join(column.key for column in self.columns)
        raise UserError(f"{self.name} has no column {key!r}; it has {known}")

    def value(self, column: str, method: str = "Ours") -> float:
        """The number in the paper's row `method`, in the column's unit."""
        self.column(column)
        for row in self.rows:
            if row.method == method and column in row.values:
                return row.values[column]
        raise UserError(f"{self.name} prints no number for {method!r} in column {column!r}")


def _printed(table: str, keys: tuple[str, ...], *lines: tuple[object, ...]) -> tuple[Row, ...]:
    """Rows from lines (method, type, cell...): a cell is a number, "number mark", or None for a dash."""
    rows = []
    for method, kind, *cells in lines:
        cut = {key: str(cell).split() for key, cell in zip(keys, cells, strict=True) if cell is not None}
        values = {key: float(words[0]) for key, words in cut.items()}
        marks = {key: words[1] for key, words in cut.items() if len(words) > 1}
        rows.append(Row(str(method), str(kind), values, f"{table}, row '{method}'", marks))
    return tuple(rows)


_AUTOLINK = "AutoLink (He et al., NeurIPS 2022, arXiv 2205.10636)"
_STABLE = "StableKeypoints (Hedlin et al., CVPR 2024, arXiv 2312.00065)"
_PPL = "PPL (Wang et al., arXiv 2410.03858)"
_LAYERED = "Yang et al., arXiv 2104.00483"
_MELAS = "Melas-Kyriazi et al., arXiv 2105.08127"
_DOMBROWSKI = "Dombrowski et al., arXiv 2212.14306: 0.751 to 0.772"
_UNSUP_PARTS = "Choudhury et al., NeurIPS 2021, over foreground pixels"
_MPAE = "Xia et al., ICCV 2025, arXiv 2507.11985"

TABLE_1 = Table(
    name="Table 1",
    title="Landmark regression on CelebA, error over the inter-ocular distance",
    columns=(
        Column("aligned_k10", "Aligned (K=10)", "lower", 2, "%"),
        Column("wild_k4", "Wild (K=4)", "lower", 2, "%"),
        Column("wild_k8", "Wild (K=8)", "lower", 2, "%"),
    ),
    rows=_printed(
        "Table 1",
        ("aligned_k10", "wild_k4", "wild_k8"),
        ("Thewlis et al. [52]", "Landmark", 7.95, None, "31.30 *"),
        ("Zhang et al. [64]", "Landmark", 3.46, None, "40.82 *"),
        ("LatentKeypointGAN [14]", "Landmark", 5.85, 25.81, 21.90),
        ("Lorenz et al. [34]", "Landmark", 3.24, "15.49 †", "11.41 †"),
        ("IMM [20]", "Landmark", 3.19, "19.42 †", "8.74 †"),
        ("DEF [6] by [17]", "Part", None, None, "31.30 *"),
        ("SCOPS [17] (w/o saliency)", "Part", None, 46.62, 22.11),
        ("SCOPS [17] (w/ saliency)", "Part", None, 21.76, 15.01),
        ("Liu et al. [32]", "Part", None, 15.39, 12.26),
        ("Huang et al. [16] (w/ detailed label)", "Part", None, None, 8.40),
        ("Ours", "Part", 3.98, 12.26, 6.18),
    ),
    later=(
        Row("AutoLink", "VGG loss", {"wild_k4": 6.11, "wild_k8": 5.24}, _AUTOLINK),
        Row("StableKeypoints", "Stable Diffusion 1.5", {"wild_k8": 4.35, "aligned_k10": 3.60}, _STABLE),
    ),
    marks={"*": "reported by [17] (SCOPS)", "†": "reported by [32] (Liu et al.)"},
    remarks=(
        "The released log of Ours, wild, K = 8, ends at 6.1858 %.",
        "The same 31.30 % is printed for Thewlis et al. and for DEF.",
    ),
)

TABLE_2 = Table(
    name="Table 2",
    title="Foreground segmentation, IoU per image",
    columns=(Column("cub", "CUB", "higher", 3), Column("flowers", "Flowers", "higher", 3)),
    rows=_printed(
        "Table 2",
        ("cub", "flowers"),
        ("GrabCut [44]", "Foreground Segmentation", 0.360, 0.692),
        ("PerturbGAN [2]", "Foreground Segmentation", 0.380, None),
        ("ReDO [4]", "Foreground Segmentation", 0.426, 0.764),
        ("IEM + SegNet [45]", "Foreground Segmentation", 0.551, 0.789),
        ("SCOPS [17] w/ GT BG by us", "Part Segmentation", "0.329 †", "0.544 †"),
        ("Ours", "Part Segmentation", 0.629, 0.739),
    ),
    later=(
        Row("Layered GAN (Yang et al.)", "nothing", {"cub": 0.697}, _LAYERED),
        Row("Melas-Kyriazi et al.", "BigBiGAN", {"cub": 0.664}, _MELAS),
        Row("Dombrowski et al.", "Stable Diffusion", {"cub": 0.772}, _DOMBROWSKI),
    ),
    marks={"†": "trained by the authors of GANSeg with the official implementation"},
    remarks=(
        "The released log of Ours on CUB ends at 0.6315.",
        "ReDO scores each image with the better of its mask and the complement.",
    ),
)

TABLE_3 = Table(
    name="Table 3",
    title="Part segmentation on Taichi, K = 10",
    columns=(Column("mae", "MAE", "lower", 2), Column("iou", "IoU", "higher", 4)),
    rows=_printed(
        "Table 3",
        ("mae", "iou"),
        ("DEF [6]", "no train/test split", "494.48 †", None),
        ("SCOPS [17]", "images with saliency maps", "411.38 †", "0.5485 †"),
        ("Siarohin et al. [48]", "trained on videos", 389.78, 0.7686),
        ("Ours", "trained on single images", 417.17, 0.8538),
    ),
    later=(
        Row("AutoLink", "VGG loss", {"mae": 316.10}, _AUTOLINK),
        Row("PPL", "VGG19 loss", {"mae": 293.35}, _PPL),
    ),
    marks={"†": "reported by [48] (Siarohin et al.)"},
    remarks=(
        "MAE: the text says the sum of 18 L2 distances; the released code sums 36 mean absolute errors.",
        "Predicting the training mean scores an MAE of 683.3.",
    ),
)

CUB_LANDMARKS = Table(
    name="Section 4.4",
    title="Landmark regression on CUB, error over the edge length of the image",
    columns=(Column("cub", "CUB", "lower", 2, "%"),),
    rows=(
        Row("Zhang et al. [64]", "Landmark", {"cub": 5.36}, "Section 4.4, in the text"),
        Row("Lorenz et al. [34]", "Landmark", {"cub": 3.91}, "Section 4.4, in the text"),
        Row("Ours", "Part", {"cub": 3.23}, "Section 4.4, in the text"),
    ),
)

CUB_PARTS = Table(
    name="CUB parts",
    title="Part labels on CUB against keypoints, later work only (the paper has no such metric)",
    columns=(Column("nmi", "NMI", "higher", 2, "%"), Column("ari", "ARI", "higher", 2, "%")),
    rows=(),
    later=(
        Row("unsup-parts (K=4)", "foreground masks", {"nmi": 46.03, "ari": 21.03}, _UNSUP_PARTS),
        Row("MPAE (K=16)", "another K and supervision", {"nmi": 79.00, "ari": 66.56}, _MPAE),
    ),
)

TABLES = {table.name: table for table in (TABLE_1, TABLE_2, TABLE_3, CUB_LANDMARKS, CUB_PARTS)}
