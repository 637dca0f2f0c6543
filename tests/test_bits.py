"""A wrong bit, or another's file, in a checkpoint, in weights and in the cache: found by a checksum, never used."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from test_data_cache import listing
from test_training import MINUTE, gan, same, state

from ganseg.data import cached
from ganseg.devices import make_fabric
from ganseg.files import UserError
from ganseg.generator import Generator
from ganseg.loop import fit, load_state, load_weights, save_weights


def flipped(path: Path, count: int) -> Iterator[None]:
    """Let `path` have one wrong bit, at places over the whole file."""
    whole = path.read_bytes()
    for place in np.random.default_rng(0).integers(0, 8 * len(whole), count).tolist():
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        yield
    path.write_bytes(whole)


def test_a_checkpoint_with_a_wrong_bit_is_refused_or_read_as_it_was(tmp_path: Path) -> None:
    trainer, refused = gan(make_fabric("cpu", precision="32-true")), 0
    fit(trainer, 1, tmp_path, progress=False)
    whole = state(trainer)
    for _ in flipped(tmp_path / "checkpoint" / "gan.pt", 25):
        try:
            load_state(tmp_path / "checkpoint" / "gan.pt", trainer)
            assert same(state(trainer), whole)  # the bit was between the parts of the archive
        except UserError as error:
            assert "It is damaged or of another training" in str(error)
            refused += 1
    assert refused > 5


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    trainer = gan(make_fabric("cpu", precision="32-true"))
    fit(trainer, 1, tmp_path / "one", progress=False)
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    with pytest.raises(UserError, match=r"gan.pt .*\(it is of one\)"):
        fit(trainer, 2, tmp_path / "other", progress=False)


def test_weights_with_a_wrong_bit_or_of_another_network_of_the_same_shape_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, other = Generator(MINUTE.generator), Generator(MINUTE.generator)
    path, known = tmp_path / "weights.safetensors", save_weights(tmp_path / "weights.safetensors", network)
    for _ in flipped(path, 50):
        with pytest.raises(UserError, match="weights.safetensors .*its SHA-256 is"):
            load_weights(path, other, known)
    assert same(load_weights(path, other, known).state_dict(), network.state_dict())
    assert known != save_weights(path, Generator(MINUTE.generator))
    with pytest.raises(UserError, match=known):
        load_weights(path, other, known)


@pytest.mark.parametrize("file", ["images.npy", "meta.json", "hashes.sqlite"])
def test_a_cache_with_a_wrong_bit_is_made_anew(tmp_path: Path, file: str) -> None:
    whole = np.array(cached(listing(count=40), "numbers", 16, tmp_path).images)
    (folder,) = tmp_path.iterdir()
    for _ in flipped(folder / file, 20):
        split = cached(listing(count=40), "numbers", 16, tmp_path)
        assert (split.images == whole).all() and split.names == tuple(f"n{i}" for i in range(40))


def test_the_cache_of_other_images_is_made_anew(tmp_path: Path) -> None:
    one, other = (cached(listing(count=n), "numbers", 16, tmp_path) for n in (40, 41))
    one, other = Path(one.images.filename).parent, Path(other.images.filename).parent
    shutil.rmtree(one)
    shutil.copytree(other, one)
    assert len(cached(listing(count=40), "numbers", 16, tmp_path)) == 40
