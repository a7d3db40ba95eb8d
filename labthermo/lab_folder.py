"""`labthermo init`: a working lab folder from the example that ships with labthermo."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from labthermo.errors import ParameterError

FILES = ("ndc_dots.yaml", "station.yaml")


def make_lab_folder(folder: Path) -> list[Path]:
    """Copy the example station into `folder` and return what was written.

    Raises
    ------
    ParameterError: the folder exists and is not empty, or cannot be made.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ParameterError(f"{folder} is not a new or empty folder; choose another")
    source = files("labthermo") / "lab"  # in a wheel; see pyproject.toml
    if not source.is_dir():
        source = Path(__file__).parents[1] / "examples" / "sine"  # in a checkout
    if not source.is_dir():
        raise ParameterError(f"the example that ships with labthermo is missing ({source}); reinstall labthermo")
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            target = folder / name
            target.write_bytes((source / name).read_bytes())
            written.append(target)
    except OSError as error:
        raise ParameterError(f"{folder} cannot be written: {error.strerror}") from None
    return written
