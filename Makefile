# Everything runs in a virtual environment of this folder; nothing is installed outside it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all test-fast test-rabbitmq faults fuzz lint lock lock-check audit sbom licences wheel bench kills storm generated scale limits clean
.DEFAULT_GOAL := demo

# A workflow on real agents, on this very checkout; prints where the report is.
demo: $(VENV)/.installed
	@$(BIN)/orchestrator run workflows/repo_report.yaml -i path="$(CURDIR)"

# The tests of every commit, on a real server with real workers, under six minutes. `make test-all` adds the long ones (all
# pages in a browser, accounts of the server, canaries); `make test-fast` leaves out those that start worker processes.
test: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not long" $(TESTS)

test-all: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest -n 2 --dist loadgroup $(TESTS)

test-fast: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest tests/unit tests/properties tests/store $(TESTS)

# The acceptance tests with RabbitMQ as the broker; needs Debian's rabbitmq-server, which it starts and stops itself.
test-rabbitmq: $(VENV)/.installed-dev
	@TEST_BROKER=rabbitmq $(BIN)/python -m pytest tests/acceptance $(TESTS)

# All fault tests, those with a star at full load, in two lanes, under an hour; then docs/reliability.md and the promises
# in the README from what was measured. FAULTS_SEED=N repeats a run.
faults: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest tests/faults --ignore=tests/faults/test_report.py --faults --faults-results=tests/faults/results -n 2 --dist worksteal --session-timeout=3300 $(TESTS); \
	  code=$$?; $(BIN)/python -m tests.faults.report && exit $$code

# A minute of coverage-guided fuzzing of what reads definition files; what it finds is kept in build/fuzz.
fuzz: $(VENV)/.installed-fuzz
	@mkdir -p build/fuzz/corpus
	@$(BIN)/python -m tests.fuzz.loader -max_total_time=60 -max_len=4096 -timeout=5 -rss_limit_mb=1024 \
	  -dict=tests/fuzz/yaml.dict -artifact_prefix=build/fuzz/ build/fuzz/corpus workflows workflows/patterns

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/mypy

# The same work here and in bare Celery, Huey, DBOS and LangGraph, in turn, under half an hour; writes benchmarks/results/
# and the tables of benchmarks/README.md. BENCH="--quick --only start" looks at a part.
PEERS := $(patsubst benchmarks/requirements/%.txt,benchmarks/.venvs/%/.installed,$(wildcard benchmarks/requirements/*.txt))

bench: $(VENV)/.installed $(PEERS)
	@$(BIN)/python -m benchmarks.bench $(BENCH)

benchmarks/.venvs/%/.installed: benchmarks/requirements/%.txt | $(VENV)/bin/python
	@echo "Installing $* for the benchmarks ..."
	@"$(PYTHON)" -m venv $(@D)
	@$(@D)/bin/python -m pip install -q --disable-pip-version-check -r $<
	@touch $@

# 200 x kill -9 of workers under load, on Celery's own transport and on ours; writes benchmarks/results/.
kills: $(VENV)/.installed
	@$(BIN)/python -m benchmarks.transport_kills

# 20,000 messages while every second one worker dies; exits 1 if one is lost; writes benchmarks/results/.
storm: $(VENV)/.installed
	@$(BIN)/python -m benchmarks.storm

# 400 generated workflows that use every construct, simulated and on live workers: both must do the same.
generated: $(VENV)/.installed-dev
	@GENERATED_RUNS=400 $(BIN)/python -m pytest tests/acceptance/test_random_graphs.py

# A foreach over 10,000 items, a chain of 3,000 steps, 3,000 edges, 32 containers deep; writes benchmarks/results/.
scale: $(VENV)/.installed
	@$(BIN)/python -m benchmarks.scale

# 100,000 queued steps, 10,000 runs, 1,000 agents, memory by kind of key; writes benchmarks/results/ and docs/scaling.md.
limits: $(VENV)/.installed
	@$(BIN)/python -m benchmarks.limits

# requirements.lock: every package that an installation brings, with the hashes of its files. CI holds it against
# pyproject.toml. To install by it: pip install --require-hashes -r requirements.lock, then pip install --no-deps ours.
lock: $(VENV)/.installed-release
	@$(BIN)/pip-compile -q --generate-hashes --strip-extras --no-emit-options --no-header --no-annotate \
	  --output-file requirements.lock pyproject.toml

# An installation by the lock in an empty environment, where no package may run code.
lock-check: $(VENV)/bin/python
	@rm -rf build/lock && "$(PYTHON)" -m venv build/lock
	@build/lock/bin/pip install -q --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock
	@build/lock/bin/pip check

# Known vulnerabilities of what the lock names; asks the database of PyPI and fails where that cannot be reached.
audit: $(VENV)/.installed-release
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes -r requirements.lock || \
	  { echo "make audit: vulnerable packages are above, or the database of vulnerabilities did not answer"; exit 1; }

# What is in an installation by the lock, as CycloneDX, and under which licences.
sbom: $(VENV)/.installed-release lock-check
	@$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON -o sbom.json build/lock

licences: $(VENV)/.installed-release lock-check
	@$(BIN)/pip-licenses --python build/lock/bin/python --format=markdown

# The wheel of the last commit, with the same bytes each time: times and modes in it are those of the commit, and what is
# not committed is not in it.
DIST ?= dist
wheel:
	@rm -rf build/wheel && mkdir -p build/wheel
	@git -c tar.umask=022 archive HEAD | tar -x -C build/wheel
	@umask 022 && SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) \
	  "$(PYTHON)" -m pip wheel -q --disable-pip-version-check --no-deps -w "$(DIST)" build/wheel

clean:
	rm -rf $(VENV) .orchestrator build *.egg-info

$(VENV)/bin/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "This needs Python 3.11 or newer as '$(PYTHON)': install it (Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install python) or run make PYTHON=/path/to/python3.11"; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "'$(PYTHON)' has no venv: install it (Debian, Ubuntu: apt install python3-venv)"; exit 1; }
	@echo "Creating $(VENV) ..."
	@"$(PYTHON)" -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "Installing (about half a minute, once) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@$(BIN)/python -m compileall -q orchestrator workers  # or every start compiles, where PYTHONDONTWRITEBYTECODE is set
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	@echo "Installing with the tools for tests ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@$(BIN)/python -m compileall -q orchestrator workers  # or every start compiles, where PYTHONDONTWRITEBYTECODE is set
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-fuzz: tests/fuzz/requirements.txt $(VENV)/.installed-dev
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r $<
	@touch $@

$(VENV)/.installed-release: pyproject.toml | $(VENV)/bin/python
	@echo "Installing with the tools for releases ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[release]'
	@touch $@
