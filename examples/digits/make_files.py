"""Make crossbar.yaml and station.yaml: inputs, outputs, a quantum dot between every two, two gates a dot.

    python examples/digits/make_files.py [--inputs 8] [--outputs 10] [--out FOLDER]

With four inputs and three outputs it is a device for the task `iris`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

CHANNELS = 24  # of one QDAC-II


def gates(inputs: int, outputs: int) -> list[str]:
    """Two a dot, all of one output together."""
    return [f"{kind}{i}{o}" for o in range(outputs) for i in range(inputs) for kind in "gp"]


def crossbar(inputs: int, outputs: int) -> str:
    """The device file."""
    names, ways, answers = gates(inputs, outputs), range(inputs), range(outputs)
    rows = ",\n        ".join(", ".join(names[k : k + 16]) for k in range(0, len(names), 16))
    text = f"""# A crossbar: {inputs} inputs, {outputs} outputs, a quantum dot between every two. Made by make_files.py.
#
# Of the dot from x0 to y1, gate g01 moves both barriers alike (how much it carries) and p01 the levels.

carriers: electrons

reservoirs: {{{", ".join(f"y{o}: 10 pF" for o in answers)}}}
terminals: [{", ".join(f"x{i}" for i in ways)}, lo]
knobs: [{rows}]

processes:
  - {{for: {{o: [{", ".join(map(str, answers))}]}}, edge: ["y{{o}}", lo], law: Linear, resistance: 0.6 Mohm}}
"""
    for o in answers:
        text += f"""
  - for: {{i: [{", ".join(map(str, ways))}]}}
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


def station(inputs: int, outputs: int) -> str:
    """The station file: as many QDAC-II as the gates and inputs need, a voltmeter for each output."""
    names, answers = gates(inputs, outputs), range(outputs)
    sources = [f"gates{k // CHANNELS}.ch{k % CHANNELS + 1:02d}.voltage" for k in range(len(names) + inputs)]
    boxes = (len(sources) - 1) // CHANNELS + 1
    via = "via: {gain: 1000, input_current: 50 fA, bandwidth: 100 Hz, overload: 5 V}"
    lines = [
        f"# A crossbar of {inputs * outputs} dots: inputs are features, such as an image's brightness in blocks, and",
        f"# the largest of {outputs} outputs is the answer. Made by make_files.py; examples/sine explains the keys.",
        "",
        "backend: wire",
        "",
        "instruments:",
        *(f'  gates{k}: {{driver: qdac2, address: "TCPIP0::192.168.8.{17 + k}::5025::SOCKET"}}' for k in range(boxes)),
        *(
            f'  dmm{o}: {{driver: keysight34465a, address: "TCPIP0::192.168.8.{50 + o}::5025::SOCKET"}}'
            for o in answers
        ),
        "",
        "device:",
        "  model: crossbar.yaml",
        "",
        "  inputs:",
        *(
            f"    x{i}: {{of: {of}, via: {{divider: 100}}, window: [0.6 mV, 1.8 mV]}}"
            for i, of in enumerate(sources[len(names) :])
        ),
        "",
        "  outputs:",
        *(f"    y{o}: {{of: dmm{o}.voltage, {via}, window: [120 uV, 200 uV], integration: 20 ms}}" for o in answers),
        "",
        "  knobs:",
        *(f"    {name}: {of}" for name, of in zip(names, sources, strict=False)),
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
        f"  noise: {{{', '.join(f'y{o}: 260 nV/Hz**0.5' for o in answers)}}}",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="the folder to write to")
    parser.add_argument("--inputs", type=int, default=8)
    parser.add_argument("--outputs", type=int, default=10)
    options = parser.parse_args()
    (options.out / "crossbar.yaml").write_text(crossbar(options.inputs, options.outputs))
    (options.out / "station.yaml").write_text(station(options.inputs, options.outputs))


if __name__ == "__main__":
    main()
