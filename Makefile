# Everything that one does with a checkout of Footnote. `make help` lists it.

PYTHON      ?= python3.11
VENV        ?= .venv
# files in their own order: the long ones come before the many short ones, so that no worker waits at the end for another
PYTEST_ARGS ?= -n 4 --dist loadfile --no-loadscope-reorder
# of what is asked once more: so many that fail again, and the rest is not asked
MOST_FAILED ?= 10
COLLECTION  ?= default
# of fuzzing, for each ending
FUZZ_SECONDS ?= 20

BIN     := $(VENV)/bin
YAML    := docker-compose.yml .yamllint.yaml .github deploy

# A symbolic link is somebody else's environment: it is used as it is, and nothing is installed into it.
LINKED  := $(shell test -L $(VENV) && echo yes)
RUN_ENV := $(if $(LINKED),,$(VENV)/.footnote-run)
DEV_ENV := $(if $(LINKED),,$(VENV)/.footnote-dev)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install run test soak fuzz check format lock hooks release clean benchmark benchmark-quick ingest evaluate image

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: export FOOTNOTE_LOG__FILE := $(or $(FOOTNOTE_LOG__FILE),$(or $(FOOTNOTE_DATA_DIR),.footnote)/make-run.log)
run: $(RUN_ENV) ## Ingest Footnote's own documentation and serve it (http://127.0.0.1:8000)
	@$(BIN)/python -m server check
	@echo 'Starting the database'
	@$(BIN)/python -m storage upgrade
	@echo "Ingesting Footnote's own documentation"
	@$(BIN)/python -m ingestion README.md docs --collection $(COLLECTION) --base . --exclude "*.png" || test $$? -eq 3 # 3: files were skipped
	@echo 'Starting the server'
	@exec $(BIN)/python -m server

ingest: $(RUN_ENV) ## Ingest files of yours: make ingest FILES="~/notes report.pdf" COLLECTION=mine (ARGS=--sync deletes what is gone)
	@test -n '$(FILES)' || { echo 'error: name files or folders: make ingest FILES="~/notes report.pdf"' >&2; exit 2; }
	@$(BIN)/python -m storage upgrade
	@$(BIN)/python -m ingestion $(FILES) --collection $(COLLECTION) $(ARGS) || test $$? -eq 3 # 3: files were skipped, and named

install: $(DEV_ENV) ## Set up the environment for development in .venv

test: $(DEV_ENV) ## Run the tests (PYTEST_ARGS="-k word" for some); what fails beside others is asked once more, alone
	@$(BIN)/python -m pytest --cache-clear $(PYTEST_ARGS) || { \
	    test $$? -eq 1 && echo "make test: once more, alone, what failed beside the others" && \
	    $(BIN)/python -m pytest --last-failed --last-failed-no-failures none --maxfail $(MOST_FAILED); }

soak: $(DEV_ENV) ## Run what takes too long for `make test`: kills, floods, many examples (PYTEST_ARGS="-k word")
	@$(BIN)/python -m pytest $(PYTEST_ARGS) -m "soak or hypothesis" --hypothesis-profile soak --timeout 3600

fuzz: $(DEV_ENV) ## Damage small files of each kind and read them (FUZZ_SECONDS=20 a kind; FUZZ_ARGS="--kinds pdf FOLDER")
	@PYTHONPATH=.:tests $(BIN)/python -m support.fuzz --seconds $(FUZZ_SECONDS) $(FUZZ_ARGS)

check: $(DEV_ENV) ## Format, lint, types, the packages' directions, the page's modules and their types, container files
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/mypy scripts
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python scripts/vendor.py --check
	@$(BIN)/python scripts/page_types.py
	@$(BIN)/yamllint --strict $(YAML)
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/hadolint Dockerfile

format: $(DEV_ENV) ## Put the code into its format and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
	@$(BIN)/python scripts/example_env.py > config/example.env
	@$(BIN)/python scripts/configuration_page.py > docs/configuration.md
	@$(BIN)/python scripts/api_types.py > web/types/api.d.ts

lock: $(DEV_ENV) ## Write the lock files anew from pyproject.toml (UPGRADE=--upgrade: newer versions)
	@scripts/lock $(VENV) $(UPGRADE)

benchmark: $(DEV_ENV) ## Measure what the README claims (minutes)
	@$(BIN)/python -m benchmarks

benchmark-quick: $(DEV_ENV) ## Measure three ratios, and fail where one is below its floor (two minutes)
	@$(BIN)/python -m benchmarks quick

evaluate: $(RUN_ENV) ## Ask 38 questions about this documentation, and hold what is found to its floors (a minute)
	@$(BIN)/python -m evaluation.small

hooks: $(DEV_ENV) ## Let git run the checks before a commit and a push
	@$(BIN)/pre-commit install

release: $(DEV_ENV) ## Give a version to what is unreleased: make release PART=minor (or patch, major), then push the tag
	@test -n '$(PART)' || { echo 'error: say which part of the version grows: make release PART=minor' >&2; exit 2; }
	@$(MAKE) check test
	@$(BIN)/bump-my-version bump $(PART)
	@echo "Now: git push && git push origin v$$($(BIN)/bump-my-version show current_version)"

image: ## Build the container images, run them, and say their sizes (TARGETS=slim for one)
	@scripts/image $(TARGETS)

clean: ## Remove the environment and caches; data in .footnote stays
	@test -L $(VENV) || rm -rf $(VENV)
	@rm -rf .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo 'error: $(PYTHON) is missing: apt-get install python3.11 python3.11-venv (or PYTHON=/path/to/python3.11)' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo 'error: $(PYTHON) is not Python 3.11, which the lock files are made for' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo 'error: the venv module is missing: apt-get install python3.11-venv' >&2; exit 1; }
	@echo 'Setting up $(VENV): a few minutes the first time'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.footnote-run: requirements.lock scripts/installer.lock | $(BIN)/python
	@scripts/install $(VENV) requirements.lock
	@touch $@

$(VENV)/.footnote-dev: requirements-dev.lock scripts/installer.lock | $(BIN)/python
	@scripts/install $(VENV) requirements-dev.lock
	@touch $@ $(VENV)/.footnote-run
