# Any target: makes .venv once, then hands the target to just from that venv.
# Works with plain python3 and pip; uses uv when it is there. Pass arguments as: make demo ARGS="--out elsewhere"
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: Makefile

# One pattern rule serves every target; the stamp is remade when a requirement changes.
%: $(STAMP)
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/just $@ $(ARGS)

pyproject.toml constraints.txt Makefile: ;

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "reckoner needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12 ..." >&2; exit 2; }
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv --quiet --allow-existing --python $(PYTHON) $(VENV) && \
	  uv pip install --quiet --python $(VENV)/bin/python -c constraints.txt -e '.[dev]'; \
	else \
	  $(PYTHON) -m venv $(VENV) && \
	  $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'; \
	fi
	@touch $@
