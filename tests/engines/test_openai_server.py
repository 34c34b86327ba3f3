"""Engines in process behind an address: the same tokens as without it, whole streams, refusals in words."""

from __future__ import annotations

import http.client
import importlib.util
import json
import threading

import pytest

from reckoner.engines.child import served
from reckoner.engines.decoder import DecoderConfig
from reckoner.engines.numpy_decoder import NumpyDecoder
from reckoner.engines.openai_server import _Server, engine_server
from reckoner.engines.random_decoder import random_folder
from reckoner.engines.streams import NumpyStream, TransformersStream, Words
from reckoner.engines.weights import load
from reckoner.errors import EngineError, InputError, MissingExtraError, UnknownNameError

SMALL = DecoderConfig(
    vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=16, max_position_embeddings=128, tie_word_embeddings=False,
)  # fmt: skip
HAS_TORCH = importlib.util.find_spec("transformers") is not None and importlib.util.find_spec("torch") is not None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return random_folder(tmp_path_factory.mktemp("model") / "m", SMALL, seed=1)


@pytest.fixture(scope="module")
def place(folder):
    with _Server(NumpyStream(folder)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address
        server.shutdown()
        thread.join()


def post(place, path, body):
    connection = http.client.HTTPConnection(*place, timeout=20)
    try:
        connection.request("POST", path, json.dumps(body))
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    finally:
        connection.close()


def events(text):
    return [part.removeprefix("data: ") for part in text.strip().split("\n\n")]


def test_the_stream_gives_the_tokens_that_the_engine_gives(folder, place):
    ids = NumpyStream(folder).encode("the of and to")
    expected = NumpyDecoder(load(folder)).generate(ids, max_new_tokens=6).token_ids
    table = json.loads((folder / "tokenizer.json").read_text())
    status, text = post(place, "/v1/completions", {"prompt": "the of and to", "max_tokens": 6, "stream": True})
    *pieces, last, usage, done = events(text)
    assert status == 200
    assert "".join(json.loads(piece)["choices"][0]["text"] for piece in pieces) == Words(table).decode(expected)
    assert json.loads(last)["choices"][0]["finish_reason"] == "length"
    assert json.loads(usage)["usage"] == {"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10}
    assert done == "[DONE]"


def test_a_chat_begins_with_the_role(place):
    body = {"messages": [{"role": "user", "content": "the of"}], "max_tokens": 2, "stream": True, "ignore_eos": True}
    _, text = post(place, "/v1/chat/completions", body)
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events(text)[:3]]
    assert deltas[0] == {"role": "assistant"}
    assert all(delta["content"].startswith(" ") for delta in deltas[1:])


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/v1/completions", {"prompt": "the", "max_tokens": 2}, 400, "streams only"),
        ("/v1/completions", {"prompt": "the", "max_tokens": 0, "stream": True}, 400, "max_tokens is 0"),
        ("/v1/completions", {"prompt": "", "max_tokens": 2, "stream": True}, 400, "prompt is empty"),
        ("/v1/completions", {"prompt": "the", "max_tokens": 500, "stream": True}, 400, "do not fit the model's 128"),
        ("/v1/chat/completions", {"messages": "x", "max_tokens": 2, "stream": True}, 400, "no list of objects"),
        ("/v1/completions", [1], 400, "must be a JSON object"),
        ("/v2", {}, 404, "nothing at /v2"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_in_words(place, path, body, status, said):
    got, text = post(place, path, body)
    assert got == status
    assert said in json.loads(text)["error"]["message"]


def test_measure_starts_the_numpy_decoder_and_counts_every_token(folder):
    from click.testing import CliRunner

    from reckoner.cli.measure import command

    found = CliRunner().invoke(
        command,
        ["--numpy", str(folder), "-c", "2", "-n", "12", "--prompt", "40", "--output", "5", "--no-check-client",
         "--json"],
        catch_exceptions=False, standalone_mode=False,
    )  # fmt: skip
    document = json.loads(found.stdout.strip().splitlines()[-1])
    assert document["answered"] == 12
    assert document["prompt_tokens"] == {"asked": 40.0, "counted": 40.0, "off_by_at_most": 0}
    assert document["model"] == "numpy_decoder"


def test_an_engine_that_does_not_start_says_why(folder, tmp_path):
    with pytest.raises(UnknownNameError), engine_server("onnx", folder):
        pass
    with pytest.raises(InputError, match="no model folder"), engine_server("numpy", tmp_path / "none"):
        pass
    with (
        pytest.raises(EngineError, match=r"numpy on .* did not start: .*tokenizer\.json"),
        engine_server("numpy", tmp_path),
    ):
        pass


def test_a_server_that_logs_much_goes_on_serving(tmp_path, monkeypatch):
    (tmp_path / "chatty.py").write_text(
        "import sys, time, pathlib\n"
        "print('http://x', flush=True)\n"
        "sys.stderr.write('x' * 1_000_000)\n"
        "sys.stderr.flush()\n"
        "pathlib.Path(sys.argv[1]).write_text('past it')\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    mark = tmp_path / "mark"
    with served("chatty", [str(mark)], "chatty") as address:
        assert address == "http://x"
        waited = threading.Event()
        for _ in range(200):
            if mark.exists():
                break
            waited.wait(0.05)
        assert mark.exists()


@pytest.mark.skipif(HAS_TORCH, reason="transformers is here")
def test_without_transformers_the_extra_is_named(folder):
    with pytest.raises(MissingExtraError, match="transformers"):
        TransformersStream(folder)


@pytest.mark.skipif(not HAS_TORCH, reason="just test-vllm installs transformers")
def test_transformers_gives_the_tokens_of_the_reference_engine(folder):
    ids = NumpyStream(folder).encode("the of and to")
    expected = NumpyDecoder(load(folder)).generate(ids, max_new_tokens=12).token_ids
    stream = TransformersStream(folder)
    assert stream.encode("the of and to") == ids
    assert tuple(stream.tokens(ids, 12, past_end=True)) == expected


@pytest.mark.skipif(not HAS_TORCH, reason="just test-vllm installs transformers")
def test_measure_starts_transformers(folder):
    from click.testing import CliRunner

    from reckoner.cli.measure import command

    found = CliRunner().invoke(
        command, ["--transformers", str(folder), "-n", "4", "--prompt", "40", "--output", "5", "--no-check-client",
                  "--json"],
        catch_exceptions=False, standalone_mode=False,
    )  # fmt: skip
    document = json.loads(found.stdout.strip().splitlines()[-1])
    assert document["answered"] == 4
    assert document["prompt_tokens"]["off_by_at_most"] == 0
