# make lab        set up and open the course        make lab ARGS=--no-browser   the same, server only
# make test       set up and run every test         make notebooks               run and normalize the notebooks
# make env        set up only                       make notebooks ARGS=--check  run them, write nothing, compare
# make test-gpu   the tests that need CUDA                    make site       the course as a static site, in site/
PYTHON ?= python3

# Stored outputs always come from drawn faces, whatever a user keeps in data/: this folder does not exist.
DRAWN_ONLY = FERVT_DATA=no-real-faces
# Two test processes run in parallel, one per core. With more threads they would only wait for each other.
ONE_THREAD = OMP_NUM_THREADS=1
SIDE_BY_SIDE = -n 2 --dist loadfile
LIBRARY_FIRST = $(addprefix tests/,browser/test_site.py notebooks/test_widgets.py test_training.py notebooks/test_again.py test_export.py \
	notebooks/test_own_photo.py)
# The environment is up to date if this stamp is newer than the list of dependencies and names this folder.
# If you move a clone, its environment still points to the old location.
STAMP = .venv/.installed
NEW_ENOUGH = -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif
# --no-compile: Python compiles what it imports anyway, and that is a small part of what pip installs.
# On its first start JupyterLab asks whether it may fetch news; this setting says no.
LAB_SETTINGS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}

.PHONY: env lab test test-gpu notebooks site

env: $(STAMP)

$(STAMP): pyproject.toml scripts/jupyter_server_config.py
	{ [ "$$(cat $@)" = "$(CURDIR)" ] && .venv/bin/python $(NEW_ENOUGH); } 2>/dev/null \
		|| { $(PYTHON) $(NEW_ENOUGH) && $(PYTHON) -m venv --clear .venv; }
	.venv/bin/python -m pip install --disable-pip-version-check --progress-bar off --no-compile -e '.[course,test]'
	mkdir -p .venv/share/jupyter/lab/settings .venv/etc/jupyter
	echo '$(LAB_SETTINGS)' > .venv/share/jupyter/lab/settings/overrides.json
	cp scripts/jupyter_server_config.py .venv/etc/jupyter/
	echo "$(CURDIR)" > $@

lab: $(STAMP)
	.venv/bin/jupyter lab $(ARGS) notebooks/00_meet_fervt.ipynb

notebooks: $(STAMP)
	$(DRAWN_ONLY) .venv/bin/python scripts/notebooks.py $(ARGS)

# LIBRARY_ARGS goes only to the library's tests, BROWSER_ARGS only to the browser tests.
test: $(STAMP)
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/python scripts/notebooks.py --check-form
	$(ONE_THREAD) .venv/bin/python -m pytest $(LIBRARY_FIRST) tests --ignore-glob='tests/browser/test_[!s]*' \
		--ignore=tests/gpu $(SIDE_BY_SIDE) --no-loadscope-reorder -rs $(LIBRARY_ARGS)
	$(DRAWN_ONLY) .venv/bin/python -m pytest tests/browser --ignore=tests/browser/test_site.py -rs $(BROWSER_ARGS)

site: $(STAMP)
	.venv/bin/python scripts/website.py $(ARGS)

test-gpu: $(STAMP)
	.venv/bin/python -m pytest tests/gpu -rs
