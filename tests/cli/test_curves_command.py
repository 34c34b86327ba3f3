import json

import pytest
from click.testing import CliRunner

from reckoner.cli import COMMANDS
from reckoner.cli.curves import command
from reckoner.engines import random_decoder
from reckoner.engines.decoder import DecoderConfig
from reckoner.errors import UnknownNameError
from reckoner.measure.curve_results import CurvesPlan

TINY = DecoderConfig(
    vocab_size=300,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=64,
    tie_word_embeddings=False,
)


def test_the_listing_and_the_command_say_the_same():
    assert COMMANDS["curves"][1] == command.get_short_help_str(200)


def test_an_unknown_model_gets_near_misses(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean tutor"):
        CliRunner().invoke(command, ["--model", "tutr", "--out", str(tmp_path)], catch_exceptions=False)


def test_data_goes_to_stdout_as_one_json_document_and_the_rest_to_stderr(tmp_path, monkeypatch):
    monkeypatch.setattr(random_decoder, "CONFIG_100M", TINY)
    quick = CurvesPlan(s_points=(8, 16, 32), repeats=6, warmups=1, fit_up_to=32, point_budget_s=0.5)
    monkeypatch.setattr(CurvesPlan, "demo", classmethod(lambda cls: quick))
    arguments = ["--quick", "--model", "random-100m", "--engine", "numpy", "--out", str(tmp_path)]
    first = CliRunner().invoke(command, [*arguments, "--json"], catch_exceptions=False)
    assert first.exit_code == 0
    assert json.loads(first.stdout)["config"]["S_points"] == [8, 16, 32]
    assert "README.md" in first.stderr
    again = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert "random-100m" in again.stdout
    assert (tmp_path / "latency.png").exists()
