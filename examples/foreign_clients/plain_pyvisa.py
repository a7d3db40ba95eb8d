"""A plain PyVISA script on a served bench: no labthermo import, only what a lab has anyway.

    labthermo bench examples/sine/station.yaml          # in one terminal; prints one JSON line of addresses
    python examples/foreign_clients/plain_pyvisa.py '<that JSON line>'

Sweeps the plunger of one dot on the QDAC-II, and reads the potential behind the preamplifier on the 34465A.
"""

import json
import sys

import pyvisa


def open_instrument(manager, address):
    instrument = manager.open_resource(address)
    instrument.read_termination = instrument.write_termination = "\n"
    return instrument


def main(line):
    addresses = json.loads(line)["addresses"]
    manager = pyvisa.ResourceManager("@py")
    gates, dmm, drain = (open_instrument(manager, addresses[name]) for name in ("gates", "dmm", "drain"))
    for instrument in (gates, dmm, drain):
        print(instrument.query("*IDN?").strip())
    drain.write(":SOUR:FUNC VOLT")
    drain.write(":SENS:FUNC 'CURR'")
    drain.write(":SENS:CURR:RANG 10e-9")
    drain.write(":SOUR:VOLT:ILIM 10e-9")
    drain.write(":OUTP ON")
    dmm.write("CONF:VOLT:DC 10")
    dmm.write("SENS:VOLT:DC:NPLC 1")
    gates.write("sour24:volt:mode fix")
    for step in range(1, 11):
        gates.write(f"sour24:volt {-0.018 * step:.4f}")  # electrons: -1.8 mV at the sample after the 1:100 divider
    for step in range(-6, 7):
        gates.write(f"sour1:volt {step * 2e-3:.4f}")
        programmed = float(gates.query("sour1:volt?"))
        dmm.query("READ?")  # the 100 Hz preamplifier has settled after this one
        volts = float(dmm.query("READ?"))
        amps = float(drain.query(":MEAS?"))
        print(json.dumps({"gate": programmed, "dmm": volts, "drain": amps}))
    gates.write("sour24:volt 0")
    drain.write(":OUTP OFF")
    for instrument in (gates, dmm, drain):
        instrument.close()
    manager.close()


if __name__ == "__main__":
    main(sys.argv[1])
