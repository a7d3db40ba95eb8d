"""A plain QCoDeS script on a served bench: the stock drivers in a `qcodes.Station`, no labthermo import.

    labthermo bench examples/sine/station.yaml          # in one terminal; prints one JSON line of addresses
    python examples/foreign_clients/plain_qcodes.py '<that JSON line>'

Sweeps a gate on the QDAC-II, sees the current change on the 2450 and the potential on the 34465A.
"""

import json
import sys

import qcodes
from qcodes.instrument_drivers.Keithley import Keithley2450
from qcodes.instrument_drivers.Keysight import Keysight34465A
from qcodes_contrib_drivers.drivers.QDevil.QDAC2 import QDac2


def main(line):
    addresses = json.loads(line)["addresses"]
    gates = QDac2("gates", addresses["gates"], visalib="@py")
    dmm = Keysight34465A("dmm", addresses["dmm"], visalib="@py")
    drain = Keithley2450("drain", addresses["drain"], visalib="@py")
    station = qcodes.Station(gates, dmm, drain, update_snapshot=False)
    try:
        drain.source_function("voltage")
        drain.sense_function("current")
        drain.sense.range(10e-9)
        drain.source.limit(10e-9)
        drain.output_enabled(True)
        dmm.range(10.0)
        dmm.NPLC(1.0)
        for step in range(1, 11):
            gates.ch24.dc_constant_V(-0.018 * step)  # electrons: -1.8 mV at the sample after the 1:100 divider
        for step in range(-6, 7):
            station.gates.ch01.dc_constant_V(step * 2e-3)
            station.dmm.volt()  # the 100 Hz preamplifier has settled after this one
            row = {
                "gate": gates.ch01.dc_constant_V(),
                "dmm": station.dmm.volt(),
                "drain": station.drain.sense.current(),
            }
            print(json.dumps(row))
        gates.ch24.dc_constant_V(0.0)
        drain.output_enabled(False)
    finally:
        qcodes.Instrument.close_all()


if __name__ == "__main__":
    main(sys.argv[1])
