"""The models that come with the project: listed, small, ready to use, and as good as their metrics say."""

import hashlib

import numpy as np
import pytest
from commands import done, mistaken
from PIL import Image

from ganseg import Experiment, Run, pictures
from ganseg.data import DATASETS, load
from ganseg.devices import make_fabric
from ganseg.evaluation import agreement, coverage, find_parts
from ganseg.files import results_dir, shipped_models

NAMES = sorted(shipped_models())
SIZES = {name: sum(path.stat().st_size for path in Run.find(name).directory.glob("*.safetensors")) for name in NAMES}
DRAWN = [name for name in ("birds", "faces") if name in NAMES]


def test_models_lists_every_shipped_model_with_what_it_knows():
    lines = done("models").stdout.splitlines()
    assert len(lines) == 1 + len(NAMES)
    for name in NAMES:
        row = next(line for line in lines if line.startswith(f"{name} "))
        assert Run.find(name).config.data.name in row and f"{SIZES[name] / 1e6:.1f} MB" in row


def test_a_name_that_is_nearly_that_of_a_model_is_answered_with_it_first():
    assert "there are birds-k4, birds, birds-k8" in mistaken("sample birds_k4")
    told = mistaken("sample flower")
    assert "there are flowers, flowers-1000-images," in told and len(told) < 2000


def test_a_shipped_model_that_is_evaluated_again_keeps_its_published_numbers(monkeypatch):
    path = Run.find("birds").directory / "metrics.json"
    before = path.read_bytes()
    monkeypatch.setattr("ganseg.evaluation.evaluate", lambda *given, **more: {"iou": 0.5})
    told = done("evaluate birds")
    assert "its published numbers stay" in told.stderr and str(path) in told.stdout and "0.5" in told.stdout
    assert path.read_bytes() == before


def test_shipped_models_are_small():
    assert max(SIZES.values()) <= 4e6 and sum(SIZES.values()) <= 40e6
    assert min(SIZES.values()) > 1e5


def test_a_results_folder_without_models_says_so(tmp_path):
    assert "models.yml" in mistaken("models", "--results", tmp_path)
    for damaged in ("{", "- a", "birds: {licence: MIT}"):
        (tmp_path / "models.yml").write_text(damaged)
        assert "models.yml is missing or cannot be read" in mistaken("sample birds --results", tmp_path)


def test_a_shipped_model_segments_a_photograph_and_draws_samples_by_its_short_name(tmp_path):
    bird = load("synthetic-bird", "test", 96, limit=1).images[0]
    Image.fromarray(bird).save(tmp_path / "bird.png")
    done("segment", "birds", tmp_path / "bird.png", "--out", tmp_path / "out")
    mask = np.asarray(Image.open(tmp_path / "out/masks/bird.png"))
    assert mask.shape == (96, 96) and 0.02 < (mask > 0).mean() < 0.6 and len(np.unique(mask)) >= 4
    done("sample", "birds", "--count", 2, "--out", tmp_path / "sample.png")
    assert Image.open(tmp_path / "sample.png").width > 96


def test_what_is_shipped_of_drawn_data_is_used_and_not_trained_again():
    runs = [run for run in map(Run.find, NAMES) if not DATASETS[run.config.data.name].needs_dir]
    for run in runs:
        told = {name: run.provenance[name] for name in ("data", "variant", "parts", "seed", "scale", "overrides")}
        assert Experiment(**told).finished(need="weights").directory == run.directory
    assert len(runs) >= 10


@pytest.mark.parametrize("name", NAMES)
def test_shipped_weights_find_what_was_found_when_they_were_scored(name):
    run = Run.find(name)
    sheet = pictures.read_sheet(run.directory / "segmentation.png")
    factor = sheet[0].shape[1] // run.config.data.size
    images, found, *_ = [row[:, ::factor, ::factor] for row in sheet]
    labels = find_parts(run.segmenter(), images, make_fabric("cpu")).labels
    assert len(images) == 12 and (labels == pictures.labels_of(found)).mean() > 0.995


@pytest.mark.parametrize("name", DRAWN)
def test_shipped_weights_give_the_published_scores(name):
    run = Run.find(name)
    test = load(run.config.data.name, "test", run.config.data.size)
    labels = find_parts(run.segmenter(), test.images, make_fabric("cpu")).labels
    measured = coverage(labels, test.foreground) | agreement(labels, test)
    assert len(test) == run.metrics["test_images"]
    for metric in ("iou", "iou_constant_mask", "nmi_both", "ari_foreground"):
        assert measured[metric] == pytest.approx(run.metrics[metric], abs=0.002), metric


def test_committed_weights_are_those_whose_checksums_their_provenance_tells():
    runs = {path.parent for path in results_dir().glob("[!t]*/runs/*/*.safetensors")}
    assert len(runs) >= len(NAMES)
    for run in runs:
        held = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in run.glob("*.safetensors")}
        assert Run(run).provenance["weights"] == held, run
