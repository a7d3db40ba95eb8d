"""docs/physics.md: complete, its examples run, and its numbers and figures are what its script computes today."""

from __future__ import annotations

import base64
import doctest
import importlib.util
import io
import re
import sys
import typing
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.image import imread

from simulators import audits, branches, conductors, master_equation, sbml

REPOSITORY = Path(__file__).parents[3]
DOCS = REPOSITORY / "docs"
PAGE = (DOCS / "physics.md").read_text(encoding="utf-8")
LAWS = typing.get_args(conductors.Conductor)
QUOTED = re.compile(r"([^\s(|]+?)<!-- (\w+) -->")
LARGEST = 150_000  # bytes of a figure


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("physics_figures", DOCS / "physics_figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def numbers(script: ModuleType) -> dict[str, str]:
    return script.numbers()


def section(title: str) -> str:
    """What stands under a heading, up to the next one of its rank or above."""
    found = re.search(rf"^(##+) {re.escape(title)}$\n(.*?)(?=^##[ ]|^###[ ]|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found, f"docs/physics.md has no section {title!r}"
    return found[2]


# --- complete


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_every_law_has_a_section_with_all_its_parameters(law: type):
    text = section(law.__name__)
    missing = [spec.name for spec in fields(law) if f"`{spec.name}`" not in text]
    assert not missing


def public_functions(module: ModuleType) -> list[str]:
    return [
        name for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", "") == module.__name__
        and not isinstance(value, type) and not name.startswith("_")
    ]  # fmt: skip


@pytest.mark.parametrize("module", [audits, branches, master_equation, sbml], ids=lambda m: m.__name__)
def test_every_public_function_is_named(module: ModuleType):
    names = public_functions(module)
    assert names
    assert [name for name in names if not re.search(rf"\b{name}\b", PAGE)] == []


def test_the_sections_that_docstrings_cite_exist():
    cited = {
        number
        for path in (REPOSITORY / "simulators").rglob("*.py")
        for number in re.findall(r"physics\.md,\s+section\s+(\d+)", path.read_text(encoding="utf-8"))
    }
    assert cited
    assert cited <= set(re.findall(r"^## (\d+)\. ", PAGE, re.MULTILINE))


def test_links_lead_somewhere():
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^##+ (.*)$", PAGE, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        if target.startswith("#"):
            assert target[1:] in anchors
        else:
            assert (DOCS / target).exists(), target
    assert "(physics.md)" in (DOCS / "index.md").read_text(encoding="utf-8")


# --- true today


def test_the_examples_run():
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 5
    assert all(block.startswith(">>> ") for block in blocks)
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "docs/physics.md", "docs/physics.md", 0)
    report = io.StringIO()
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(test, out=report.write)
    assert runner.tries >= 15
    assert runner.failures == 0, report.getvalue()


def test_quoted_numbers_are_the_scripts(numbers: dict[str, str]):
    quoted = [(key, value.strip("`")) for value, key in QUOTED.findall(PAGE)]
    assert len(quoted) == PAGE.count("<!--"), "a comment that is no number's key"
    assert {key for key, _ in quoted} == set(numbers)
    assert [(key, value, numbers[key]) for key, value in quoted if value != numbers[key]] == []


@pytest.fixture(scope="module")
def drawn(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    for name in script.FIGURES:
        script.draw(name, folder)
    return folder


def test_the_page_shows_every_figure_and_no_other(script: ModuleType, drawn: Path):
    names = {f"{name}.svg" for name in script.FIGURES}
    assert set(re.findall(r"\]\(figures/(\S+\.svg)\)", PAGE)) == names
    shown = {name for page in DOCS.glob("*.md") for name in re.findall(r"\]\(figures/(\S+)\)", page.read_text())}
    assert {path.name for path in (DOCS / "figures").iterdir()} == shown
    assert {path.name for path in drawn.iterdir()} == names
    for path in (DOCS / "figures").iterdir():
        assert path.stat().st_size < LARGEST, path.name


def test_a_figure_is_the_same_each_time(script: ModuleType, drawn: Path, tmp_path: Path):
    for name in ("gaussian_ndc", "stability"):
        assert script.draw(name, tmp_path).read_bytes() == (drawn / f"{name}.svg").read_bytes()


def test_committed_figures_show_what_the_script_draws_today(script: ModuleType, drawn: Path):
    for name in script.FIGURES:
        old, new = ((folder / f"{name}.svg").read_text(encoding="utf-8") for folder in (DOCS / "figures", drawn))
        if f"Matplotlib v{mpl.__version__}," not in old:
            pytest.skip(f"the figures were drawn with another Matplotlib than {mpl.__version__}, which draws otherwise")
        one, other = (re.findall(r' d="([^"]+)"', text) for text in (old, new))
        assert len(one) == len(other), name
        for before, after in zip(one, other, strict=True):
            points = [np.array(re.findall(r"-?\d+(?:\.\d+)?", path), dtype=float) for path in (before, after)]
            assert points[0].shape == points[1].shape, name
            assert np.abs(points[0] - points[1]).max(initial=0.0) < 0.5, name  # of 72 to the inch
        images = [
            [imread(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"base64,([^\"]+)\"", text)]
            for text in (old, new)
        ]
        assert len(images[0]) == len(images[1])
        for before, after in zip(*images, strict=True):
            assert np.abs(before - after).mean() < 0.01, name
