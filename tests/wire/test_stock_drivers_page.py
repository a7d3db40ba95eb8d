"""docs/stock-drivers.md is what its script writes: every stock driver through its paths, every query answered."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from simulators.bench import PERSONALITIES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stock_drivers", DOCS / "stock_drivers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def found(script: ModuleType) -> list[Any]:
    return script.runs()


def test_every_query_of_every_driver_is_answered_and_leaves_no_error(found):
    assert {run.instrument for run in found} == set(PERSONALITIES)
    assert [(run.driver, run.unanswered, run.errors) for run in found if run.unanswered or run.errors] == []
    assert all(sum(map(len, run.heard.values())) > 10 for run in found)


def test_the_page_is_what_the_script_writes(script, found):
    page = (DOCS / "stock-drivers.md").read_text(encoding="utf-8")
    assert all(run.driver in page for run in found)
    if script.versions() in page:  # another version of a library may ask other questions
        assert script.page(found) == page, "write it anew: python docs/stock_drivers.py --write"
