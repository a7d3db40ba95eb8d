"""An acknowledged point is on the disk: strace sees an fsync before each acknowledgement."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

STATION = Path(__file__).parents[2] / "examples" / "sine" / "station.yaml"

ACKNOWLEDGE = """
import sys
from pathlib import Path
from labthermo import Query, Station
with Station(sys.argv[1], sys.argv[3]) as station, station.run(Path(sys.argv[2]), {"task": "durability"}) as run:
    for value in (0.9e-3, 1.0e-3, 1.1e-3, 1.2e-3):
        run.query(Query(inputs=[value]))
        print("acknowledged", flush=True)
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace (.ci/run installs it)")
@pytest.mark.parametrize("backend", ["model", "wire"])
def test_every_acknowledgement_comes_after_an_fsync(tmp_path: Path, backend: str) -> None:
    trace = tmp_path / "trace"
    done = subprocess.run(
        ["strace", "-f", "-o", str(trace), "-e", "trace=fsync,fdatasync,write", "-s", "40",
         sys.executable, "-c", ACKNOWLEDGE, str(STATION), str(tmp_path / "runs"), backend],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    events = re.findall(r"(fsync|fdatasync)\(|write\(1, \"(acknowledged)", trace.read_text())
    sequence = ["sync" if sync else "acknowledged" for sync, _ in events]
    assert sequence.count("acknowledged") == 4
    before = 0
    for event in sequence:
        if event == "sync":
            before += 1
        else:
            assert before > 0, "acknowledged without an fsync since the last one"
            before = 0
