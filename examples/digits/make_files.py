"""Make crossbar.yaml and station.yaml: eight inputs, ten outputs, a quantum dot between every two, two gates a dot.

python examples/digits/make_files.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

INPUTS, OUTPUTS = range(8), range(10)
GATES = [f"{kind}{i}{o}" for o in OUTPUTS for i in INPUTS for kind in "gp"]
CHANNELS = 24  # of one QDAC-II


def crossbar() -> str:
    """The device file."""
    rows = ",\n        ".join(", ".join(GATES[k : k + 16]) for k in range(0, len(GATES), 16))
    text = f"""# A crossbar: eight inputs, ten outputs, a quantum dot between every two. Made by make_files.py.
#
# Of the dot from x0 to y1, gate g01 moves both barriers alike (how much it carries) and p01 the levels.

carriers: electrons

reservoirs: {{{", ".join(f"y{o}: 10 pF" for o in OUTPUTS)}}}
terminals: [{", ".join(f"x{i}" for i in INPUTS)}, lo]
knobs: [{rows}]

processes:
  - {{for: {{o: [{", ".join(map(str, OUTPUTS))}]}}, edge: ["y{{o}}", lo], law: Linear, resistance: 0.6 Mohm}}
"""
    for o in OUTPUTS:
        text += f"""
  - for: {{i: [{", ".join(map(str, INPUTS))}]}}
    name: dot{{i}}{o}
    edge: ["x{{i}}", y{o}]
    law: BlockingLevel
    levels:
      - {{value: 1.2 meV, by: {{"p{{i}}{o}": -0.050 eV/V}}}}
      - {{value: 2.0 meV, by: {{"p{{i}}{o}": -0.046 eV/V}}}}
    gamma_left:
      - {{value: 1e9 1/s, decades: {{"g{{i}}{o}": 150 mV}}}}
      - {{value: 1e9 1/s, decades: {{"g{{i}}{o}": 150 mV}}}}
    gamma_right:
      - {{value: 1e9 1/s, decades: {{"g{{i}}{o}": 150 mV}}}}
      - {{value: 1e8 1/s, decades: {{"g{{i}}{o}": 150 mV}}}}
    temperature: 1.5 K
"""
    return text


def station() -> str:
    """The station file: seven QDAC-II for 160 gates and 8 inputs, ten voltmeters."""
    sources = [f"gates{k // CHANNELS}.ch{k % CHANNELS + 1:02d}.voltage" for k in range(len(GATES) + len(INPUTS))]
    gates, inputs = sources[: len(GATES)], sources[len(GATES) :]
    boxes = len(sources) // CHANNELS
    via = "via: {gain: 1000, input_current: 50 fA, bandwidth: 100 Hz, overload: 5 V}"
    lines = [
        "# Handwritten digits on a crossbar of 80 dots: the inputs are the brightness of eight blocks of an image, and",
        "# the largest of ten outputs is the answer. Made by make_files.py; examples/sine explains the keys.",
        "",
        "backend: wire",
        "",
        "instruments:",
        *(f'  gates{k}: {{driver: qdac2, address: "TCPIP0::192.168.8.{17 + k}::5025::SOCKET"}}' for k in range(boxes)),
        *(
            f'  dmm{o}: {{driver: keysight34465a, address: "TCPIP0::192.168.8.{50 + o}::5025::SOCKET"}}'
            for o in OUTPUTS
        ),
        "",
        "device:",
        "  model: crossbar.yaml",
        "",
        "  inputs:",
        *(
            f"    x{i}: {{of: {of}, via: {{divider: 100}}, window: [0.6 mV, 1.8 mV]}}"
            for i, of in zip(INPUTS, inputs, strict=True)
        ),
        "",
        "  outputs:",
        *(f"    y{o}: {{of: dmm{o}.voltage, {via}, window: [120 uV, 200 uV], integration: 20 ms}}" for o in OUTPUTS),
        "",
        "  knobs:",
        *(f"    {name}: {of}" for name, of in zip(GATES, gates, strict=True)),
        "",
        "  limits:",
        '    "x*": {min: -0.2 mV, max: 2.0 mV, max_step: 2.2 mV, slew: 50 mV/s}',
        '    "p*": {min: -12 mV,  max: 12 mV,  max_step: 10 mV,  slew: 400 mV/s}',
        '    "g*": {min: -100 mV, max: 50 mV,  max_step: 20 mV,  slew: 400 mV/s}',
        "",
        "  settle: {tolerance: 5 uV, confidence: 95 %, timeout: 20 s}",
        "  stop:   {inputs: zero, knobs: hold}",
        "",
        "simulation:",
        "  seed: 7",
        "  mismatch: 10 %",
        f"  noise: {{{', '.join(f'y{o}: 260 nV/Hz**0.5' for o in OUTPUTS)}}}",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="the folder to write to")
    folder = parser.parse_args().out
    (folder / "crossbar.yaml").write_text(crossbar())
    (folder / "station.yaml").write_text(station())


if __name__ == "__main__":
    main()
