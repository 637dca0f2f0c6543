"""Settings are converted or refused with a message that helps."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from ganseg.config import Config
from ganseg.files import UserError


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("losses.lambda_con", "30", 30.0),
        ("losses.lambda_con", "1e-4", 1e-4),
        ("losses.lambda_con", 3, 3.0),
        ("generator.parts", "12", 12),
        ("generator.parts", 12.0, 12),
        ("generator.block_widths", "8,8,8,8", (8, 8, 8, 8)),
        ("generator.block_widths", "(8, 8, 8, 8)", (8, 8, 8, 8)),
        ("generator.block_widths", [8, 8, 8, 8], (8, 8, 8, 8)),
        ("optim.betas", "0,0.99", (0.0, 0.99)),
        ("segmenter.pretrained", "true", True),
        ("segmenter.pretrained", "False", False),
        ("segmenter.pretrained", True, True),
        ("losses.over_parts", "mean", "mean"),
        ("optim.precision", "32-true", "32-true"),
        ("seed", "7", 7),
    ],
)
def test_values_as_typed_become_the_fields_type(name: str, typed: object, value: object) -> None:
    config = Config().replace({name: typed})
    section, _, key = name.rpartition(".")
    found = getattr(getattr(config, section) if section else config, key)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "typed", "wanted"),
    [
        ("generator.parts", "six", "valid integer"),
        ("generator.parts", "2.5", "valid integer"),
        ("generator.parts", 2.5, "valid integer"),
        ("generator.parts", None, "valid integer"),
        ("losses.lambda_con", "much", "valid number"),
        ("losses.lambda_con", [1.0], "valid number"),
        ("generator.block_sizes", 32, "valid tuple"),
        ("segmenter.pretrained", "maybe", "valid boolean"),
        ("segmenter.pretrained", 2, "valid boolean"),
        ("losses.over_parts", "median", "'sum' or 'mean'"),
        ("segmenter.backbone", "resnet101", "'resnet50'"),
        ("optim.precision", "half", "'bf16-mixed'"),
        ("seed", "x", "valid integer"),
    ],
)
def test_wrong_values_are_refused_with_the_name_the_value_and_what_is_expected(
    name: str, typed: object, wanted: str
) -> None:
    with pytest.raises(UserError) as caught:
        Config().replace({name: typed})
    message = str(caught.value)
    assert name in message and repr(typed) in message and wanted in message


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("losses.lambda", "losses.lambda_con"),
        ("lambda_con", "losses.lambda_con"),
        ("losses.lambda_conn", "losses.lambda_con"),
        ("losses.lambda_con.x", "losses.lambda_con"),
        ("nothing.at_all", "generator.parts"),
        ("generator", "generator.parts"),
        ("", "seed"),
        ("losses.__class__", "losses.lambda_con"),
        ("__class__.parts", "generator.parts"),
    ],
)
def test_unknown_names_are_refused_with_known_ones(name: str, suggestion: str) -> None:
    with pytest.raises(UserError) as caught:
        Config().replace({name: 1})
    assert repr(name) in str(caught.value) and suggestion in str(caught.value)


def test_a_near_name_lists_only_its_neighbours() -> None:
    with pytest.raises(UserError) as caught:
        Config().replace({"losses.lambda": 1})
    assert "generator.parts" not in str(caught.value)


def test_replace_leaves_the_original_and_the_other_fields_alone() -> None:
    config = Config()
    changed = config.replace({"losses.lambda_con": 1, "losses.lambda_area": 2, "generator.parts": 3})
    assert config == Config()
    assert changed.losses == config.losses.model_copy(update={"lambda_con": 1.0, "lambda_area": 2.0})
    assert changed.optim == config.optim and changed.generator.parts == 3


def test_fields_cannot_be_assigned() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Config().losses.lambda_con = 3.0  # type: ignore[misc]


def test_dictionaries_and_json_round_trip() -> None:
    config = Config().replace(
        {
            "generator.parts": 3,
            "data.size": 64,
            "generator.block_sizes": (32, 32, 64, 64),
            "optim.betas": (0, 0.9),
            "segmenter.pretrained": True,
            "seed": 5,
        }
    )
    assert Config.from_dict(config.to_dict()) == config
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert hash(Config.from_dict(json.loads(json.dumps(config.to_dict())))) == hash(config)


@pytest.mark.parametrize(
    "values", [{"generator": {"part": 3}}, {"model": {"parts": 3}}, {"generator": 3}, {"generator": {"parts": "x"}}]
)
def test_faulty_dictionaries_are_refused(values: dict) -> None:
    with pytest.raises(UserError):
        Config.from_dict(values)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"generator.block_sizes": "32,64,128"}, "block_widths"),
        ({"generator.block_sizes": "16,32,128,128"}, "32 -> 128"),
        ({"generator.block_sizes": "128,64,128,128"}, "128 -> 64"),
        ({"data.size": 64}, "data.size=64"),
        ({"generator.block_sizes": "16,16,32,64"}, "data.size=128"),
        ({"generator.block_widths": "511,256,128,64"}, "even"),
        ({"generator.parts": 0}, "generator.parts"),
        ({"generator.points_per_part": 1}, "generator.points_per_part=1"),
        ({"optim.batch_size": 0}, "optim.batch_size"),
        ({"optim.steps": -1}, "optim.steps"),
    ],
)
def test_combinations_that_cannot_be_built_are_refused(overrides: dict, named: str) -> None:
    with pytest.raises(UserError) as caught:
        Config().replace(overrides)
    assert named in str(caught.value)


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_every_power_of_two_is_a_size(size: int) -> None:
    sizes = (size // 8, size // 4, size // 2, size)
    assert Config().replace({"data.size": size, "generator.block_sizes": sizes}).generator.start_size == size // 8


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("losses.lambda_con", "nan", "finite"),
        ("generator.block_sizes", "32,big", "valid integer"),
        ("optim.lr_generator", "-1e-3", "greater than or equal to 0"),
        ("data.train_limit", "-3", "greater than or equal to 0"),
        ("losses.penalty_every", "0", "greater than or equal to 1"),
        ("segmenter.batch_size", "0", "greater than or equal to 1"),
        ("optim.ema", "1.5", "less than 1"),
        ("optim.betas", "0.5", "not valid"),
        ("generator.rgb_kernel", "2", "odd"),
        ("discriminator.widths", "", "not valid"),
        ("generator.block_sizes", "", "not valid"),
        ("data.name", 5, "not valid"),
        ("segmenter.output_stride", "3", r"resnet50 has \[8\]"),
    ],
)
def test_values_that_no_training_can_use_are_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Config().replace({name: value})


def test_a_known_field_in_the_wrong_section_is_told_where_it_belongs() -> None:
    with pytest.raises(UserError, match="losses.lambda_con"):
        Config().replace({"generator.lambda_con": "3"})
