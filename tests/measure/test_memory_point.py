import os
import subprocess
import sys

import msgspec
import pytest

from reckoner.engines.decoder import DecoderConfig
from reckoner.errors import InputError
from reckoner.files import write_json
from reckoner.measure.memory_point import ENVIRONMENT, MemoryPoint, MemorySpec, measure, resident_bytes
from reckoner.measure.subjects import Target, info, llama_files

CONFIG = DecoderConfig(
    vocab_size=300,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=32,
    max_position_embeddings=1024,
    tie_word_embeddings=False,
)
TARGET = Target(name="small", engine="numpy", config=CONFIG)
MODEL = info(TARGET, TARGET.weights(1024), 1024)
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="exact resident sizes are Linux's")


def _spec(s, *, prefill=True, **changes):
    return MemorySpec(target=TARGET, model=MODEL, s=s, s_max=1024, prefill=prefill, seed=3, **changes)


def _fresh(tmp_path, spec):
    path = write_json(tmp_path / "spec.json", msgspec.to_builtins(spec))
    done = subprocess.run(
        [sys.executable, "-m", "reckoner.measure.memory_point", str(path)],
        env={**os.environ, **ENVIRONMENT, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return msgspec.json.decode(done.stdout, type=MemoryPoint)


@linux
@pytest.mark.parametrize("s", [8, 1024])
def test_a_fresh_process_grows_by_the_pages_that_hold_the_tokens(tmp_path, s):
    point = _fresh(tmp_path, _spec(s))
    assert point.theory_bytes == point.bytes_used == 2 * 4 * 2 * 32 * s * 4
    assert point.bytes_allocated == 2 * 4 * 2 * 32 * 1024 * 4
    assert point.page_bytes >= point.theory_bytes
    # One page may have been touched before: the allocator keeps its own note at the front of the block.
    assert abs(point.rss_growth_bytes - point.page_bytes) <= 2 * 4096


@linux
def test_appending_touches_the_same_pages_as_a_prefill(tmp_path):
    ran, appended = _fresh(tmp_path, _spec(64)), _fresh(tmp_path, _spec(64, prefill=False))
    assert abs(ran.rss_growth_bytes - appended.rss_growth_bytes) <= 2 * 4096
    assert appended.filled_by == "append"


@linux
def test_a_process_that_ran_before_hides_the_growth(tmp_path):
    # What the fresh process is for: the second measurement in one process finds its pages resident already.
    script = (
        "import sys, msgspec\n"
        "from reckoner.files import read_json\n"
        "from reckoner.measure.memory_point import MemorySpec, measure\n"
        "spec = msgspec.convert(read_json(sys.argv[1]), MemorySpec)\n"
        "print([measure(spec).rss_growth_bytes for _ in range(4)])\n"
    )
    path = write_json(tmp_path / "spec.json", msgspec.to_builtins(_spec(64)))
    # Instead of ENVIRONMENT: an allocator that keeps what was freed, as it comes to do in any process that lives on.
    keeping = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **keeping},
        capture_output=True,
        check=True,
    )
    _, *later = msgspec.json.decode(done.stdout)
    fresh = _fresh(tmp_path, _spec(64)).rss_growth_bytes
    assert min(later) < 0.1 * fresh


def test_llama_cpp_grows_by_its_whole_cache(tmp_path):
    pytest.importorskip("xllamacpp")
    target = Target(name="small", engine="llamacpp", config=CONFIG)
    files, model = llama_files(target, 1024, tmp_path)
    points = [
        _fresh(
            tmp_path,
            MemorySpec(target=target, model=model, s=s, s_max=1024, prefill=True, seed=3, gguf=str(files.model)),
        )
        for s in (8, 1024)
    ]
    assert [point.capacity for point in points] == [256, 1024]
    assert [point.theory_bytes for point in points] == [2 * 4 * 2 * 32 * n * 4 for n in (256, 1024)]
    growth = points[1].rss_growth_bytes - points[0].rss_growth_bytes
    assert growth == pytest.approx(points[1].theory_bytes - points[0].theory_bytes, rel=0.10)


def test_llama_cpp_without_its_file_is_refused():
    target = Target(name="small", engine="llamacpp", config=CONFIG)
    with pytest.raises(InputError, match="gguf is not given"):
        measure(MemorySpec(target=target, model=MODEL, s=8, s_max=1024, prefill=True, seed=3))


def test_bad_input_ends_the_process_with_one_line(tmp_path):
    target = Target(name="small", engine="numpy", folder=str(tmp_path / "none"))
    path = write_json(
        tmp_path / "spec.json",
        msgspec.to_builtins(MemorySpec(target=target, model=MODEL, s=8, s_max=8, prefill=True, seed=0)),
    )
    done = subprocess.run(
        [sys.executable, "-m", "reckoner.measure.memory_point", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == ["target small: config.json is not there; give a whole model folder"]


def test_a_process_has_a_resident_size():
    assert resident_bytes("Anonymous") <= resident_bytes("Rss")
    assert resident_bytes() > 1 << 20
