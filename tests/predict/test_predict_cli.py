import csv
import io
import json
import sys

import pytest

from reckoner.catalogue.find import device, model
from reckoner.cli import COMMANDS, main
from reckoner.cli.predict import command as predict_command
from reckoner.cli.sweep import command as sweep_command
from reckoner.design import Design, Serving, Workload
from reckoner.predict.prediction import predict


def run(capsys, monkeypatch, *words):
    """What a shell sees: exit code, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["reckoner", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def test_json_is_one_document_and_holds_what_the_library_predicts(capsys, monkeypatch):
    code, out, _ = run(
        capsys, monkeypatch, "predict", "llama-3.1-8b", "-d", "h100", "-b", "32", "--weights", "fp8", "--kv", "fp8",
        "--prompt", "2000", "--output", "100", "--tp", "2", "--json",
    )  # fmt: skip
    found = json.loads(out)
    alone = predict(
        Design(
            model=model("llama-3.1-8b"),
            device=device("h100"),
            serving=Serving(batch=32, weights="fp8", kv="fp8", tp=2),
        ),
        Workload(prompt_tokens=2000, output_tokens=100),
    )
    assert code == 0
    assert found["metrics"]["tpot_s"]["value"] == alone.tpot_s
    assert (found["metrics"]["ttft_s"]["low"], found["metrics"]["ttft_s"]["high"]) == alone.interval("ttft_s")
    assert found["fits"] is True
    assert found["bound"] == alone.bound


def test_csv_has_a_line_a_metric(capsys, monkeypatch):
    code, out, _ = run(capsys, monkeypatch, "predict", "gpt2", "-d", "h100", "--usd-per-hour", "2", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert [row["unit"] for row in rows] == ["s", "s", "s", "tok/s", "req/s", "B", "J", "USD"]
    assert all(float(row["low"]) < float(row["value"]) < float(row["high"]) for row in rows)


def test_the_rent_can_come_from_the_catalogue(capsys, monkeypatch):
    from reckoner.catalogue.find import rate

    asked = ("predict", "gpt2", "-d", "h100", "--csv")
    _, stated, _ = run(capsys, monkeypatch, *asked, "--usd-per-hour", str(rate("h100", "aws").usd_per_hour))
    _, found, _ = run(capsys, monkeypatch, *asked, "--provider", "aws")
    assert found == stated
    assert "usd_per_m_output_tokens" in found


def test_the_table_shows_each_metric_with_its_interval_and_says_what_binds(capsys, monkeypatch):
    code, out, _ = run(capsys, monkeypatch, "predict", "llama-3.1-8b", "-d", "h100", "--explain")
    assert code == 0
    for words in (
        "time to first token",
        "90% interval",
        "memory bandwidth takes",
        "on this device with this engine",
        "bandwidth share",
    ):
        assert words in out


def test_terms_come_with_json_when_asked_for(capsys, monkeypatch):
    _, out, _ = run(capsys, monkeypatch, "predict", "llama-3.1-8b", "-d", "h100", "--explain", "--json")
    terms = {term["symbol"]: term for term in json.loads(out)["terms"]}
    assert terms["β"]["value"] == 3.35e12
    assert terms["P"]["value"] == 8_030_261_248


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("llama-3.1-8b", "-d", "h1000"), "no device named 'h1000'. Did you mean h100"),
        (("llama-3.1-8", "-d", "h100"), "no model named 'llama-3.1-8'. Did you mean llama-3.1-8b"),
        (
            ("llama-3.1-70b", "-d", "h100"),
            "llama-3.1-70b needs 142.5 GB of memory on nvidia-h100-sxm, which has 80.00 GB",
        ),
        (("llama-3.1-8b", "-d", "h100", "--prompt", "0"), "prompt_tokens is 0; it must be at least 1"),
        (("llama-3.1-8b", "-d", "h100", "--output", "-3"), "output_tokens is -3"),
        (("llama-3.1-8b", "-d", "h100", "--tp", "3"), "tp is 3; it must divide the 32 heads"),
        (("llama-3.1-8b", "-d", "h100", "--compute", "fp4"), "nvidia-h100-sxm has no fp4 peak; present:"),
        (("llama-3.1-8b", "-d", "h100", "--engine", "vlm"), "no engine named 'vlm'. Did you mean vllm"),
        (
            ("llama-3.1-8b", "-d", "h100", "--draft-tokens", "2", "--acceptance", "1.2"),
            "acceptance is 1.2; it is a prob",
        ),
        (("llama-3.1-8b", "-d", "h100", "-b", "1e300"), "batch is 1e+300; it must be at least 1 and at most 1e+30"),
        (("llama-3.1-8b", "-d", "h100", "--prompt", "1e200"), "prompt_tokens is 1e+200; it must be at least 1"),
        (("llama-3.1-8b", "-d", "h100", "--usd-per-hour", "nan"), "usd_per_hour is nan"),
        (("llama-3.1-8b", "-d", "h100", "--usd-per-hour", "-1"), "usd_per_hour is -1.0"),
        (("llama-3.1-8b", "-d", "rpi5"), "what would fit: weights in"),
        (("llama-3.1-8b", "-d", "h100", "--dp", "2"), "copies of a dense model are replicas"),
        (("llama-3.1-8b", "-d", "h100", "--level", "2"), "level is 2.0; it must lie between 0 and 1"),
        (("no/such/config.json", "-d", "h100"), "no file no/such/config.json; check the path"),
    ],
)
def test_bad_input_is_one_sentence_on_stderr_and_exit_2(capsys, monkeypatch, words, said):
    code, out, err = run(capsys, monkeypatch, "predict", *words)
    assert code == 2
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_a_config_that_contradicts_itself_names_the_field(capsys, monkeypatch, tmp_path):
    config = {
        "model_type": "llama", "hidden_size": 4097, "num_hidden_layers": 2, "num_attention_heads": 32,
        "num_key_value_heads": 8, "intermediate_size": 100, "vocab_size": 1000,
    }  # fmt: skip
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    code, _, err = run(capsys, monkeypatch, "predict", str(path), "-d", "h100")
    assert code == 2
    assert "hidden size 4097 is not divisible by 32 attention heads" in err
    path.write_text(json.dumps(config | {"hidden_size": 4096}))
    code, out, _ = run(capsys, monkeypatch, "predict", str(path), "-d", "h100", "--csv")
    assert code == 0
    assert out.startswith("metric,value")


def test_the_roofline_picture_is_a_png(capsys, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    target = tmp_path / "roof.png"
    code, _, err = run(capsys, monkeypatch, "predict", "llama-3.1-8b", "-d", "h100", "--plot", str(target), "--csv")
    assert code == 0
    assert target.read_bytes().startswith(b"\x89PNG")
    assert str(target) in err


def test_the_listing_says_what_the_verbs_say_themselves():
    for verb, command in (("predict", predict_command), ("sweep", sweep_command)):
        assert COMMANDS[verb][1] == (command.help or "").strip().splitlines()[0]


def test_gains_are_said_with_what_they_rest_on(capsys, monkeypatch):
    code, out, _ = run(capsys, monkeypatch, "predict", "llama-3.1-8b", "-d", "h100", "--prefill-replicas", "1")
    assert code == 0
    assert "1 prefill : 1 decode servers" in out
    assert "disaggregation: from theory, not from measurements" in out


def test_carbon_stands_in_every_format_when_its_intensity_is_given(capsys, monkeypatch):
    words = ["predict", "llama-3.1-8b", "-d", "h100", "--grams-per-kwh", "400", "--pue", "1.2"]
    code, out, _ = run(capsys, monkeypatch, *words, "--json")
    assert code == 0
    metric = json.loads(out)["metrics"]["co2_g_per_m_output_tokens"]
    assert metric["low"] < metric["value"] < metric["high"]
    assert "co2_g_per_m_output_tokens," in run(capsys, monkeypatch, *words, "--csv")[1]
    assert "carbon of a million tokens" in run(capsys, monkeypatch, *words)[1]
