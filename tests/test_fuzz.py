"""Inputs that nobody thought of: what they say is what is read, or a UserError says why not."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import HealthCheck, example, given, settings, strategies as st
from PIL import Image

from book.execute import experiments_of
from ganseg import Experiment, UserError
from ganseg.config import Config
from ganseg.data import check, load
from ganseg.data.images import IGNORE, read_any_mask
from ganseg.discriminator import Discriminator
from ganseg.generator import Generator
from ganseg.recipes import resolve
from ganseg.segmenter import Segmenter
from ganseg.terminal import setting


def tried(count: int) -> Any:
    """The same `count` examples each time."""
    few = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=few)


# Masks: numbers, greys or colours of the parts, in each kind of file.
PARTS = np.kron(np.arange(16).reshape(4, 4) % 5, np.ones((3, 3), int))  # background and four parts
BYTE, BRIGHT = st.integers(1, 255), st.integers(17, 255)
MODES = ["L", "I;16", "F", "P", "RGB", "RGBA", "LA"]
FOUR = st.one_of(
    st.lists(st.integers(1, 63) | st.just(IGNORE), min_size=4, max_size=4),  # numbers of parts
    st.lists(BRIGHT, min_size=4, max_size=4),
    st.lists(st.tuples(BRIGHT, BRIGHT, BRIGHT), min_size=4, max_size=4),
)


def mask(mode: str, values: list[Any]) -> Image.Image:
    """PARTS in an image of this mode."""
    table = np.array([0 * np.array(values[0]), *values])
    if mode == "P":
        image = Image.fromarray(PARTS.astype(np.uint8))
        image.putpalette(np.broadcast_to(table.reshape(5, -1), (5, 3)).astype(np.uint8).tobytes())
        return image
    if mode.startswith("RGB"):
        return Image.fromarray(np.broadcast_to(table.reshape(5, -1), (5, 3)).astype(np.uint8)[PARTS]).convert(mode)
    grey = table.reshape(5, -1)[:, 0][PARTS]
    kinds = {"I;16": np.uint16, "F": np.float32}
    image = Image.fromarray(grey.astype(kinds.get(mode, np.uint8)))
    return image.convert("LA") if mode == "LA" else image


@tried(150)
@given(mode=st.sampled_from(MODES), values=FOUR)
@example(mode="L", values=[1, 2, 3, IGNORE])
def test_a_mask_of_parts_on_black_is_read_as_its_parts_or_refused(tmp_path, mode, values):
    mask(mode, values).save(tmp_path / "mask.tif")
    try:
        read = read_any_mask(tmp_path / "mask.tif", len(PARTS))
    except UserError:
        return
    known = read != IGNORE
    assert (read == (PARTS > 0))[known].all() and known[PARTS == 0].all()
    assert known.all() or IGNORE in np.ravel(values) or mode in ("RGB", "RGBA")


# Folders: any files beside two photographs.
FOLDERS = ["", "a/", "images/", "masks/", "Masks/", "a/images/", "a/masks/", "train/", "labels/", "out/", "Für/", ".x/"]
STEMS = ["0", "1", "00", "0_mask", "mask_0", "0 copy", "B\u00e4r", "Ba\u0308r", "parts", "keypoints", "samples", "mask"]
ENDS = [".png", ".PNG", ".jpg", ".bmp", ".tif", ".heic", ".json", ".csv", ".npz", ""]
FILE = st.tuples(*map(st.sampled_from, (FOLDERS, STEMS, ENDS))).map("".join)
LEFT_OUT = ("no images of a kind", "what GANSeg wrote", "belong to no image")  # words that say so


@pytest.mark.usefixtures("cache")
@tried(25)
@given(files=st.dictionaries(FILE, st.sampled_from(["photograph", "mask", "text"]), max_size=8), seed=st.integers(0, 9))
def test_every_file_of_a_folder_is_a_photograph_a_mask_or_told_to_be_left_out(tmp_path, monkeypatch, files, seed):
    monkeypatch.setattr("ganseg.data.folder.MINIMUM", 1)
    root, draws = tmp_path / "folder", np.random.default_rng(seed)
    shutil.rmtree(tmp_path)
    for name, kind in (files | {"z/1.png": "photograph", "z/3.png": "photograph"}).items():
        pixels = draws.integers(0, 255, (12, 12, 3)) if kind == "photograph" else 255 * (PARTS > 0)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(root / name, "PNG")
        if kind == "text":
            (root / name).write_text("?")
    listing = check("folder", root)
    if listing.faults:
        return
    counted = lambda words: sum(int(re.search(r"\d+", s)[0]) for s in listing.oddities if words in s)
    photographs, masks = sum(listing.counts.values()), listing.labels["foreground masks"]
    seen = 2 + sum(not name.startswith(".") and name != "keypoints.csv" for name in files)
    assert photographs + masks + sum(map(counted, LEFT_OUT)) == seen
    splits = [split for split, count in listing.counts.items() if count]
    loaded = [load("folder", split, 16, data_dir=root) for split in splits]
    assert sum(map(len, loaded)) == photographs - counted("unreadable images")


# Settings, and parameters of notebooks.
KNOWN = [f"{section}.{name}" for section, part in Config().model_dump().items() if isinstance(part, dict)
         for name in part]  # fmt: skip
REAL = st.floats(-2, 2, allow_subnormal=False)  # training turns them off
NUMBER = st.integers(-3, 70) | REAL | st.sampled_from([0, 1e9, 1e400, -0.0, "nan", 2**70, "16,32", "8,8"])
VALUE = NUMBER | st.lists(st.integers(0, 64), max_size=4) | st.booleans() | st.text(max_size=6)


@tried(200)
@given(given=st.dictionaries(st.sampled_from(KNOWN) | st.text(max_size=8), VALUE, min_size=1, max_size=3))
def test_settings_are_refused_or_make_networks_that_can_be_built(given):
    typed = dict(setting(f"{name}={value}") for name, value in given.items())
    try:
        config = resolve("synthetic-bird", "paper", "tiny", overrides=typed)
    except UserError:
        return
    again = Config.from_dict(json.loads(json.dumps(config.model_dump(), allow_nan=False)))
    assert again == config == Config.from_dict(config.model_dump()) and hash(again) == hash(config)
    size, parts = config.data.size, config.generator.parts
    with torch.device("meta"):
        scene, images = Generator(config.generator).eval(), torch.empty(2, 3, size, size)
        assert Discriminator(config.discriminator, size)(images).shape == (2,)
        assert Segmenter(config.segmenter, parts).eval()(images).shape[1:] == (parts + 1, size, size)
    assert sum(p.numel() for p in scene.parameters()) > 0


@tried(40)
@given(
    given=st.dictionaries(
        st.sampled_from(["scale", "seed", "data", "results_dir", "data_dir"]) | st.text(max_size=4),
        VALUE | st.none() | st.sampled_from(["tiny", "flowers", "{seed}", "folder", "."]),
        max_size=3,
    )
)
@pytest.mark.parametrize("page", ["13_table1", "25_ablations"])
def test_parameters_of_a_notebook_are_refused_or_name_experiments(page: str, given: dict[str, Any]) -> None:
    try:
        rows = experiments_of(Path(ROOT, "notebooks", f"{page}.ipynb"), **given)
        made = [Experiment(**row) for row in rows]
    except UserError:
        return
    assert made and all(experiment.config.seed == experiment.seed >= 0 for experiment in made)
