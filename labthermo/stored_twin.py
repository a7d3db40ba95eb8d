"""A calibrated twin beside its station file: what `calibrate_twin` has learnt, for trainings to start from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labthermo.config import StationConfig
from labthermo.errors import RecordError
from labthermo.records.journal import Journal

EVENT = "twin"  # of a journal: what is to be stored


@dataclass(frozen=True)
class StoredTwin:
    """A twin as it was fitted.

    run: which run fitted it; queries: that this took; sample: see :func:`sample_of`; doubt: of its outputs, as a
    fraction of half their window, the median; twin: its state; settings: what it was fitted to.
    """

    run: str
    queries: int
    sample: dict[str, Any]
    doubt: float
    twin: dict[str, Any]
    settings: list[dict[str, Any]]


def device_fingerprint(config: StationConfig) -> str:
    """Of all that gives a twin's numbers their meaning: the station's device section and the device file."""
    text = config.device.model_dump_json() + config.device_file.read_text(encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sample_of(header: Mapping[str, Any]) -> dict[str, Any]:
    """Which sample a run (by its journal's header) has before it, and how it is wired."""
    return {
        "simulated": header["backend"] != "real",
        "seed": header["simulation_seed"],
        "control": header["control"],
        "device": header["device"],
    }


def twin_file(station: Path) -> Path:
    """Where the calibrated twin of a station file is stored."""
    return station.with_suffix(".twin.json")


def store_twin(journal: Journal) -> Path | None:
    """Store what a calibration has recorded last beside its station file; None if the journal has no twin.

    Raises
    ------
    RecordError: the file cannot be written.
    """
    events = journal.events(EVENT)
    if not events:
        return None
    detail = events[-1].detail
    stored = StoredTwin(
        run=journal.folder.name, queries=journal.queries(), sample=sample_of(journal.header),
        doubt=detail["doubt"], twin=detail["twin"], settings=detail["settings"],
    )  # fmt: skip
    path = twin_file(Path(journal.header["station_path"]))
    temporary = path.with_name(f".{path.name}")
    try:
        temporary.write_text(json.dumps(asdict(stored)) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise RecordError(f"{path} cannot be written ({error.strerror}); make its folder writable") from None
    return path


def load_twin(path: Path, header: Mapping[str, Any]) -> StoredTwin:
    """The stored twin, for a run with this header.

    Raises
    ------
    RecordError: no such file, no stored twin, or one of another sample or another wiring.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        stored = StoredTwin(**data)
    except OSError as error:
        raise RecordError(
            f"{path}: cannot be read: {error.strerror}; `labthermo run calibrate_twin` makes it"
        ) from None
    except (ValueError, TypeError) as error:
        raise RecordError(f"{path}: is not a stored twin: {error}") from None
    here = sample_of(header)
    changed = [name for name, value in here.items() if stored.sample.get(name) != value]
    if changed:
        what = {"device": "device file or device section", "simulated": "kind of backend"}
        words = ", ".join(what.get(name, name) for name in changed)
        raise RecordError(
            f"{path}: this twin was fitted in run {stored.run} to a station with another {words}; "
            "run calibrate_twin again"
        )
    return stored
