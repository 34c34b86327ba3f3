"""Models: exact counts, and every built-in shape is found by its names."""

import pickle

import pytest

from reckoner.catalogue import find
from reckoner.errors import InputError, UnknownNameError

NAMES = find.models()
PUBLISHED = [name for name in NAMES if find.published_params(name) is not None]


def test_there_are_at_least_sixty_models_and_most_have_a_published_count():
    assert len(NAMES) >= 60
    assert len(PUBLISHED) >= 100


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_match_the_published_count_exactly(name):
    assert find.model(name).params == find.published_params(name)


@pytest.mark.parametrize("name", NAMES)
def test_every_model_is_sane_and_sourced(name):
    model = find.model(name)
    assert model.source
    assert model.checked is not None
    assert 0 < model.active_params <= model.params
    assert 0 < model.matmul_params <= model.params + model.head_params
    assert model.kv_elements_per_token + model.state_elements > 0
    assert pickle.loads(pickle.dumps(model)) == model
    for alias in model.aliases:
        assert find.model(alias) == model


def test_a_missing_file_is_called_a_file_not_a_name(tmp_path):
    with pytest.raises(InputError) as caught:
        find.model(str(tmp_path / "absent.json"))
    assert "absent.json" in str(caught.value)
    assert "no model named" not in str(caught.value)


def test_an_unknown_model_names_near_misses():
    with pytest.raises(UnknownNameError, match=r"Did you mean llama-3\.1-8b"):
        find.model("llama-3.1-8")


def test_a_name_too_long_for_a_path_is_unknown_like_any_other():
    with pytest.raises(UnknownNameError, match="no model named 'xxx"):
        find.model("x" * 5000)
