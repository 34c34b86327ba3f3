"""``reckoner measure`` on a real vLLM: only where vLLM is installed, by ``just test-vllm``."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from click.testing import CliRunner

from reckoner.engines.decoder import DecoderConfig
from reckoner.engines.random_decoder import random_folder
from reckoner.measure.events import ROLE
from reckoner.measure.keep import read_records

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="just test-vllm installs vLLM"),
    pytest.mark.slow,
]
SMALL = DecoderConfig(
    vocab_size=2048, hidden_size=256, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4,
    num_key_value_heads=2, head_dim=64, max_position_embeddings=2048, tie_word_embeddings=False,
)  # fmt: skip
START_S = 300.0


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    place = tmp_path_factory.mktemp("vllm")
    model = random_folder(place / "model", SMALL)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    with (place / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--served-model-name",
             "random", "--dtype", "bfloat16", "--enforce-eager", "--host", "127.0.0.1", "--port", str(port)],
            stdout=log, stderr=subprocess.STDOUT, env=os.environ | settings,
        )  # fmt: skip
        address = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + START_S
            while not _ready(address):
                assert process.poll() is None, (place / "log").read_text()[-2000:]
                assert time.monotonic() < deadline, "vLLM did not start"
                time.sleep(1.0)
            yield address
        finally:
            process.terminate()
            process.wait(60)


def _ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5):
            return True
    except (OSError, urllib.error.URLError):
        return False


def measured(*arguments: str) -> dict:
    from reckoner.cli.measure import command

    options = ["--dialect", "vllm", "--output", "8", "--no-check-client", "--json"]
    found = CliRunner().invoke(command, [*arguments, *options], catch_exceptions=False, standalone_mode=False)
    assert found.return_value == 0, found.output
    return json.loads(found.stdout.strip().splitlines()[-1])


def test_prompts_are_as_long_as_asked_for_and_in_no_prefix_cache(url, tmp_path):
    document = measured(url, "-c", "4", "-n", "24", "--prompt", "300", "--save", str(tmp_path / "run"))
    records = read_records(tmp_path / "run")
    assert document["answered"] == 24
    assert document["tokens_counted_by"] == "usage"
    assert {record.prompt_tokens for record in records} == {300}
    assert {record.output_tokens for record in records} == {8}
    assert document["server"]["prompt_tokens"] == 24 * 300
    assert document["server"]["output_tokens"] == 24 * 8
    assert document["server"]["prefix_hit_tokens"] == 0


def test_the_role_event_is_no_token(url, tmp_path):
    measured(url, "-n", "4", "--prompt", "64", "--save", str(tmp_path / "run"))
    for record in read_records(tmp_path / "run"):
        assert len(record.token_stamp_s) <= 8
        assert record.kind.tolist().count(ROLE) <= 1
        assert record.token_stamp_s[0] >= record.stamp_s[0]


def test_no_run_of_a_sweep_finds_the_prompts_of_another(url):
    runs = measured(url, "--rate", "8,16", "-n", "6", "--prompt", "300")["runs"]
    assert [run["server"]["prefix_hit_tokens"] for run in runs] == [0, 0]


def test_a_shared_prefix_is_found_in_the_cache_when_asked_for(url):
    document = measured(url, "-n", "6", "--prompt", "600", "--shared", "512")
    assert document["server"]["prefix_hit_tokens"] > 4 * 256


def test_completions_answer_too(url):
    document = measured(url, "--api", "completions", "-n", "4", "--prompt", "64")
    assert document["answered"] == 4
    assert document["server"]["output_tokens"] == 4 * 8
