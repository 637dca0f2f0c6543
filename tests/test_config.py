"""Settings are converted or refused with a message that helps."""

import pytest
from pydantic import ValidationError

from ganseg.config import Config
from ganseg.files import UserError


def refusal(overrides: dict) -> str:
    """The message with which overrides of the defaults are refused."""
    with pytest.raises(UserError) as caught:
        Config().replace(overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("losses.lambda_con", "1e-4", 1e-4),
        ("generator.parts", "12", 12),
        ("generator.parts", 12.0, 12),
        ("generator.block_widths", "8,8,8,8", (8, 8, 8, 8)),
        ("generator.block_widths", [8, 8, 8, 8], (8, 8, 8, 8)),
        ("optim.betas", "0,0.99", (0.0, 0.99)),
        ("segmenter.pretrained", "true", True),
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
        ("generator.parts", 0, "greater than or equal to 1"),
        ("generator.points_per_part", 1, "greater than or equal to 2"),
        ("generator.block_sizes", 32, "valid tuple"),
        ("generator.block_sizes", "", "not valid"),
        ("losses.penalty_every", "0", "greater than or equal to 1"),
        ("losses.over_parts", "median", "'sum' or 'mean'"),
        ("data.train_limit", "-3", "greater than or equal to 0"),
        ("optim.lr_generator", "-1e-3", "greater than or equal to 0"),
        ("optim.ema", "1.5", "less than 1"),
        ("optim.betas", "0.5", "not valid"),
        ("optim.precision", "half", "'bf16-mixed'"),
        ("segmenter.pretrained", "maybe", "valid boolean"),
    ],
)
def test_wrong_values_are_refused_with_name_value_and_what_is_expected(name: str, typed: object, wanted: str) -> None:
    message = refusal({name: typed})
    assert name in message and wanted in message and (repr(typed) in message or typed in ("", "0.5"))


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("losses.lambda", "losses.lambda_con"),
        ("lambda_con", "losses.lambda_con"),
        ("generator.lambda_con", "losses.lambda_con"),
        ("losses.__class__", "losses.lambda_con"),
        ("nothing.at_all", "generator.parts"),
        ("", "seed"),
    ],
)
def test_unknown_names_are_refused_with_known_ones(name: str, suggestion: str) -> None:
    message = refusal({name: 1})
    assert repr(name) in message and suggestion in message
    assert "generator.parts" not in message or name != "losses.lambda", "a near name lists only its neighbours"


def test_replace_leaves_the_original_and_the_other_fields_alone() -> None:
    config = Config()
    changed = config.replace({"losses.lambda_con": 1, "losses.lambda_area": 2, "generator.parts": 3})
    assert config == Config()
    assert changed.losses == config.losses.model_copy(update={"lambda_con": 1.0, "lambda_area": 2.0})
    assert changed.optim == config.optim and changed.generator.parts == 3
    with pytest.raises(ValidationError, match="frozen"):
        config.losses.lambda_con = 3.0  # type: ignore[misc]


def test_faulty_dictionaries_are_refused() -> None:
    faulty = [{"generator": {"part": 3}}, {"model": {"parts": 3}}, {"generator": 3}, {"generator": {"parts": "x"}}]
    for values in faulty:
        with pytest.raises(UserError):
            Config.from_dict(values)
