"""What README.md and docs/ tell people to type works, in a folder that holds the examples and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for path in (
        REPOSITORY / "README.md",
        *(REPOSITORY / "docs").rglob("*.md"),
        *(REPOSITORY / "examples").glob("*/README.md"),
        *(REPOSITORY / "benchmarks").glob("*.md"),
    )
)
BLOCK = re.compile(r"^<!-- run -->\n```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page):
    return BLOCK.findall((REPOSITORY / page).read_text())


def test_the_pages_with_commands_are_found():
    assert {page for page in PAGES if blocks(page)} >= {
        "README.md",
        "docs/how-to/iv-curve.md",
        "examples/iris/README.md",
    }
    for page in PAGES:
        assert (REPOSITORY / page).read_text().count("<!-- run -->") == len(blocks(page)), page


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)])
def test_commands_work(page, tmp_path):
    shutil.copytree(
        REPOSITORY / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("runs", "__pycache__")
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for block in blocks(page):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""


@pytest.mark.parametrize("name", ["main", "test"])
def test_the_two_big_commands_stand_where_ci_looks(name):
    (block,) = re.findall(rf"<!-- {name} -->\n```sh\n(.*?)\n```\n", (REPOSITORY / "README.md").read_text())
    assert "\n" not in block
    assert block.startswith("pip install uv && uv run ")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    folder = (REPOSITORY / page).parent
    for target in re.findall(r"\]\(([^)#]+)", (REPOSITORY / page).read_text()):
        if "://" not in target:
            assert (folder / target).exists(), target
