"""The verbs ``devices`` and ``models``."""

import csv
import json

import pytest
from click.testing import CliRunner

from reckoner.catalogue import find
from reckoner.cli import COMMANDS
from reckoner.cli.devices import command as devices
from reckoner.cli.models import command as models
from reckoner.cli.predict import command as predict
from reckoner.cli.validate import _lines
from reckoner.cli.validate import command as validate
from reckoner.errors import UnknownNameError


def run(command, *args):
    result = CliRunner().invoke(command, args, catch_exceptions=False)
    assert result.exit_code == 0
    return result


def test_devices_lists_those_of_a_tier():
    record = json.loads(run(devices, "--tier", "tinyml", "--json").stdout)
    assert {device["tier"] for device in record} == {"tinyml"}
    assert "stm32h743" in run(devices, "--tier", "tinyml").stdout


def test_one_device_shows_source_date_and_prices():
    shown = run(devices, "h100").stdout
    assert "NVIDIA H100 Tensor Core GPU datasheet" in shown
    assert "checked" in shown
    assert "runpod" in shown
    record = json.loads(run(devices, "h100", "--json").stdout)
    assert record["peak_flop_per_s"]["bf16"] == pytest.approx(989.4e12)
    assert {rate["provider"] for rate in record["rates"]} >= {"aws", "gcp"}


def test_models_lists_every_built_in_shape():
    record = json.loads(run(models, "--json").stdout)
    assert [model["name"] for model in record] == find.models()
    assert "llama-3.1-8b" in run(models).stdout


@pytest.mark.parametrize("name", ["llama-3.1-8b", "deepseek-v3", "mamba-2.8b", "gemma-3n-e2b", "qwen3-next-80b-a3b"])
def test_one_model_shows_its_exact_count(name):
    assert f"{find.model(name).params:,}" in run(models, name).stdout
    assert json.loads(run(models, name, "--json").stdout)["params"] == find.model(name).params


def test_a_configuration_on_disk_is_shown_like_a_built_in_model(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(
        json.dumps(
            {"model_type": "gpt2", "n_embd": 64, "n_head": 4, "n_layer": 4, "vocab_size": 600, "n_positions": 128}
        )
    )
    record = json.loads(run(models, str(path), "--json").stdout)
    # embedding 38,400, positions 8,192, four layers of 49,984, last norm 128
    assert record["params"] == 38_400 + 8_192 + 4 * 49_984 + 128


def test_unknown_names_are_errors_with_near_misses():
    with pytest.raises(UnknownNameError, match="no device named 'h1000'"):
        CliRunner().invoke(devices, ["h1000"], catch_exceptions=False)
    with pytest.raises(UnknownNameError, match="no model named"):
        CliRunner().invoke(models, ["llama-9"], catch_exceptions=False)


@pytest.mark.parametrize(("verb", "command"), [("devices", devices), ("models", models)])
def test_the_listing_says_what_the_help_says(verb, command):
    assert COMMANDS[verb][1] == (command.help or "").split("\n")[0]


@pytest.mark.parametrize(("verb", "some"), [(devices, "memory_bytes"), (models, "params")])
def test_csv_has_one_line_an_entry_and_reads_back_what_json_says(verb, some):
    whole = list(csv.DictReader(run(verb, "--csv").stdout.splitlines()))
    document = {row["name"]: row for row in json.loads(run(verb, "--json").stdout)}
    assert [row["name"] for row in whole] == list(document)
    for row in whole:
        assert float(row[some]) == document[row["name"]][some]


def test_csv_of_one_entry_is_its_line():
    (device,) = csv.DictReader(run(devices, "h100", "--csv").stdout.splitlines())
    assert float(device["peak_bf16_per_s"]) == find.device("h100").peak("bf16")
    (model,) = csv.DictReader(run(models, "mixtral-8x7b", "--csv").stdout.splitlines())
    assert (model["n_experts"], model["n_active"]) == ("8", "2")


@pytest.mark.parametrize(
    ("verb", "words"), [(devices, ()), (models, ()), (validate, ()), (predict, ("gpt2", "-d", "h100"))]
)
def test_two_formats_at_once_are_refused(verb, words):
    found = CliRunner().invoke(verb, [*words, "--json", "--csv"])
    assert "--json and --csv were both given" in str(found.exception)


def test_the_scores_as_csv_name_file_axis_kind_and_source():
    board = {"items": {"model": {"kind_source": {"ttft|lab": {"n": 3, "median_ape": 12.5, "by": {"a": 1}}}}}}
    assert list(_lines(board)) == [
        {"file": "items", "axis": "model", "kind": "ttft", "source": "lab", "n": 3, "median_ape": 12.5}
    ]
