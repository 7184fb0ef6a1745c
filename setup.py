"""pyproject.toml says it all; this stops a Python that is too old at once, before pip tries version after version."""

import sys

from setuptools import setup

if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit("Python 3.11 or newer is needed: python3.12 -m venv .venv")
setup()
