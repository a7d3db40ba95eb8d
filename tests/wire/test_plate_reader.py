"""The SpectraMax on a pseudo-terminal: under the stock driver, and through the adapter."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pylabrobot.plate_reading.molecular_devices import MolecularDevicesSpectraMaxM5Backend
from pylabrobot.plate_reading.molecular_devices.backend import MolecularDevicesUnrecognizedCommandError, ShakeSettings
from pylabrobot.resources import cor_96_wellplate_360uL_Fb

from instruments.spectramax import SpectraMax
from labthermo.errors import InstrumentError
from labthermo.faults import REPLIES, read_fault
from labthermo.instrument import Reading
from labthermo.testing import check_instrument
from simulators.faults import Chance, FaultyInstrument
from simulators.wire.server import Servers
from simulators.wire.spectramax import NOISE, STRAY_LIGHT, SpectraMaxPersonality
from simulators.wire.world import Imperfections

NADH = 340e-9  # m


class Unhurried:
    """Bench time passes only when told."""

    def catch_up(self) -> None: ...

    def ahead(self) -> float:
        return 0.0


@dataclass
class ReaderBench:
    world: Any
    reader: SpectraMaxPersonality
    line: FaultyInstrument
    servers: Servers

    @property
    def address(self) -> str:
        return self.servers.addresses["reader"]

    def adapter(self, timeout: float = 0.5) -> SpectraMax:
        return SpectraMax("reader", self.address, timeout=timeout)


@pytest.fixture
def make_reader(make_bench: Callable[..., Any]) -> Iterator[Callable[..., ReaderBench]]:
    with contextlib.ExitStack() as stack:

        def make(**imperfections: bool) -> ReaderBench:
            perfect = {"noise": False, "offsets": False, "quantisation": False}
            world = make_bench(Imperfections(**{**perfect, **imperfections})).world
            reader = SpectraMaxPersonality("reader", world)
            line = FaultyInstrument(reader, Unhurried())  # pyright: ignore[reportArgumentType]
            return ReaderBench(world, reader, line, stack.enter_context(Servers({"reader": line})))

        yield make


@pytest.fixture
def bench(make_reader: Callable[..., ReaderBench]) -> ReaderBench:  # shadows the electrical one
    return make_reader()


def stock(bench: ReaderBench, do: Callable[[MolecularDevicesSpectraMaxM5Backend], Any]) -> Any:
    """Let the stock driver, over its own serial port, do something."""

    async def session() -> Any:
        driver = MolecularDevicesSpectraMaxM5Backend(bench.address.removeprefix("ASRL").removesuffix("::INSTR"))
        await driver.setup()
        try:
            return await do(driver)
        finally:
            await driver.stop()

    return asyncio.run(session())


# ---------------------------------------------------------------------------------------------------- the stock driver


@pytest.fixture(scope="module")
def plate() -> Any:
    return cor_96_wellplate_360uL_Fb("plate")


def test_the_stock_driver_reads_a_plate(bench, plate):
    for row in range(8):
        for column in range(12):
            bench.world.absorbances[f"reader.{'abcdefgh'[row]}{column + 1}"] = 0.1 * row + 0.01 * column
    bench.world.absorbances["reader.h12"] = 9.0
    bench.world.absorbances["reader.a2"] = math.nan
    bench.world.absorbances["reader.b1"] = -0.0012
    before = bench.world.time

    async def read(driver: Any) -> Any:
        shaken = ShakeSettings(before_read=True, before_read_duration=3)
        return await driver.read_absorbance(plate, [340, 600], shake_settings=shaken)

    first, second = stock(bench, read)
    assert (first["wavelength"], second["wavelength"], first["temperature"]) == (340, 600, 25.0)
    assert first["data"][3][7] == pytest.approx(0.37)
    assert first["data"][7][11] == math.inf
    assert math.isnan(first["data"][0][1])
    assert math.isnan(first["data"][1][0])  # its defect: it loses what is negative; the adapter does not
    assert bench.world.time - before == pytest.approx(9.0)
    with contextlib.closing(bench.adapter()) as reader:
        assert reader.measure_absorbance(["b1"], NADH) == {"b1": Reading(-0.0012)}


def test_the_stock_driver_does_the_rest(bench):
    async def rest(driver: Any) -> Any:
        await driver.open()
        opened = await driver.get_status()
        await driver.close()
        await driver.set_temperature(37)
        await driver.start_shake()
        await driver.stop_shake()
        await driver.clear_error_log()
        return opened, await driver.get_status(), await driver.get_temperature(), await driver.read_error_log()

    opened, closed, temperature, errors = stock(bench, rest)
    assert (opened, closed) == (["OPEN", "IDLE"], ["CLOSED", "IDLE"])
    assert temperature == (37.0, 37.0)
    assert errors == ["0"]


def test_the_stock_driver_states_the_readers_errors(bench):
    for command, words in (("!NONSENSE", "command not found"), ("!READ", "invalid read settings")):
        with pytest.raises(MolecularDevicesUnrecognizedCommandError, match=words):
            stock(bench, lambda driver, command=command: driver.send_command(command))
    with pytest.raises(MolecularDevicesUnrecognizedCommandError, match="no data to transfer"):
        stock(bench, lambda driver: driver.send_command("!TRANSFER"))


def test_the_stock_driver_leaves_half_a_reply_of_the_options_on_the_line_and_the_adapter_does_not(bench):
    async def options(driver: Any) -> Any:
        return await driver.get_firmware_version(), await driver.io.read(8)

    assert stock(bench, options) == (["SpectraMax_M5", "SIM-reader", "ROM_1.24"], b">")
    with contextlib.closing(bench.adapter()) as reader:
        assert reader.identity.firmware == "ROM_1.24"
        assert reader._line.port.waiting == 0


# --------------------------------------------------------------------------------------------------------- the adapter


def test_it_conforms(bench):
    check_instrument(bench.adapter)


def test_what_is_saturated_missing_or_in_the_dark_is_no_number(bench):
    bench.world.absorbances |= {"reader.a1": 0.3, "reader.a2": 3.2, "reader.a3": 9.0, "reader.a4": math.nan}
    reader = bench.adapter()
    read = reader.measure_absorbance(["a1", "a2", "a3", "a4"], NADH)
    assert [read[w].flag for w in read] == ["ok", "overflow", "overflow", "invalid"]
    assert read["a1"].value == 0.3
    bench.reader.lid_open = True
    assert reader.measure_absorbance(["cuvette"], NADH)["cuvette"].flag == "invalid"
    bench.reader.lid_open = False
    assert reader.measure_absorbance(["cuvette"], NADH)["cuvette"] == Reading(0.0)
    reader.open_drawer()
    assert reader.measure_absorbance(["a1"], NADH)["a1"].flag == "invalid"
    reader.close_drawer()
    assert reader.measure_absorbance(["a1"], NADH)["a1"] == Reading(0.3)
    reader.close()


def test_its_faults_are_flags_and_no_numbers(bench):
    bench.world.absorbances |= {"reader.a1": 0.3, "reader.b2": 0.4}
    reader = bench.adapter()
    for kind, detail, flags in (
        ("missing_well", {"well": "b2"}, ["ok", "invalid"]),
        ("saturated", {}, ["overflow", "overflow"]),
        ("lid_open", {}, ["invalid", "invalid"]),
    ):
        fault = read_fault({"on": "reader", "kind": kind, **detail})
        bench.servers.call(lambda fault=fault: bench.line.inject(fault))
        read = reader.measure_absorbance(["a1", "b2"], NADH)
        assert [read[well].flag for well in ("a1", "b2")] == flags
        bench.servers.call(bench.line.forget)
        assert [r.flag for r in reader.measure_absorbance(["a1", "b2"], NADH).values()] == ["ok", "ok"]
    reader.close()


def test_a_repeated_reading_sends_the_settings_once_and_notices_when_they_are_lost(bench):
    reader = bench.adapter()
    bench.world.absorbances["reader.cuvette"] = 0.45
    heard: list[bytes] = []
    handle = bench.reader.handle
    bench.reader.handle = lambda message: heard.append(message) or handle(message)
    for _ in range(3):
        assert reader.measure_absorbance(["cuvette"], NADH)["cuvette"] == Reading(0.45)
    assert sum(m.startswith(b"!WAVELENGTH") for m in heard) == 1
    bench.servers.call(bench.reader.reboot)
    assert reader.measure_absorbance(["cuvette"], NADH)["cuvette"] == Reading(0.45)
    assert sum(m.startswith(b"!WAVELENGTH") for m in heard) == 2
    reader.close()


def test_a_broken_reader_is_not_asked_again_and_again(bench):
    reader = bench.adapter()
    handle = bench.reader.handle
    bench.reader.handle = lambda message: b"FAIL\t 404\r\n>" if message == b"!READ\r" else handle(message)
    with pytest.raises(InstrumentError, match="error 404"):
        reader.measure_absorbance(["a1"], NADH)
    assert not reader.incidents
    reader.close()


def test_noise_stray_light_and_accuracy_are_the_readers(make_reader):
    noisy = make_reader(noise=True)
    noisy.world.absorbances["reader.cuvette"] = 0.5
    with contextlib.closing(noisy.adapter()) as reader:
        values = [reader.measure_absorbance(["cuvette"], NADH)["cuvette"].value for _ in range(60)]
    spread = math.sqrt(sum((v - 0.5) ** 2 for v in values) / 60)
    assert 0.7 * NOISE < spread < 1.4 * NOISE
    stray = make_reader(offsets=True)
    stray.world.absorbances |= {"reader.a1": 0.0, "reader.a2": 1.0, "reader.a3": 2.5}
    with contextlib.closing(stray.adapter()) as reader:
        read = reader.measure_absorbance(["a1", "a2", "a3"], NADH)
    expected = -math.log10((10**-2.5 + STRAY_LIGHT) / (1 + STRAY_LIGHT))
    gain = read["a2"].value - read["a1"].value
    assert gain == pytest.approx(1.0, abs=0.012)
    assert read["a3"].value == pytest.approx(expected * gain, abs=0.012)


def test_at_five_per_cent_faulted_replies_no_wrong_absorbance_is_accepted(bench):
    reader = bench.adapter(timeout=0.1)
    kinds = tuple(kind for kind in REPLIES if kind != "late")
    bench.servers.call(lambda: bench.line.risk(Chance(0.05, kinds, seed=3)))
    for k in range(25):
        bench.world.absorbances["reader.cuvette"] = 0.01 * k + 0.1
        got = reader.measure_absorbance(["cuvette"], NADH)["cuvette"]
        assert got == Reading(pytest.approx(0.01 * k + 0.1, abs=1e-9))
    assert bench.line.spoiled > 3
    assert reader.incidents
    reader.close()


def test_a_silent_reader_is_an_error_within_its_deadlines(bench):
    reader = bench.adapter(timeout=0.05)
    bench.servers.call(lambda: bench.line.inject(read_fault({"on": "reader", "kind": "silent", "count": 1000})))
    with pytest.raises(InstrumentError, match="no reply within"):
        reader.measure_absorbance(["a1"], NADH)
    with pytest.raises(InstrumentError, match="the line is closed"):
        reader.measure_absorbance(["a1"], NADH)
    reader.close()


# ---------------------------------------------------------------------------------------------------------------- fuzz


def fuzz_the_reader(make_reader: Callable[..., ReaderBench], examples: int) -> None:
    bench = make_reader()
    verbs = [b"!READTYPE ", b"!WAVELENGTH ", b"!TEMP ", b"!SHAKE ", b"!STRIP ", b"!", b"!__INIT__", b"!MEASURE "]

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.builds(lambda verb, rest: verb + rest, st.sampled_from(verbs), st.binary(max_size=20)))
    def feed(data: bytes) -> None:
        received = bytearray(data + b"\r")
        while (message := bench.reader.split(received)) is not None:
            reply = bench.reader.handle(message)
            assert reply is not None
            assert reply.endswith(b"\r\n>")

    feed()
    assert not bench.reader.drawer_open


def fuzz_the_adapter(make_reader: Callable[..., ReaderBench], examples: int) -> None:
    bench = make_reader()
    bench.world.absorbances["reader.cuvette"] = 0.45
    reader = bench.adapter(timeout=0.02)
    reader.measure_absorbance(["cuvette"], NADH)
    handle = bench.reader.handle
    wrong: list[bytes | None] = [None]

    def garble(message: bytes) -> bytes | None:
        reply = handle(message)
        if message == b"!TRANSFER\r" and wrong[0] is not None:
            reply, wrong[0] = b"OK\t\r\n>" + wrong[0] + b"\r\n>", None
        return reply

    bench.reader.handle = garble
    head = b"9.0\t25.0\tcuvette\r\nL:\t340\r\nL:\t340\r\n1:\t"

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(st.binary(max_size=40), st.builds(lambda tail: head + tail, st.binary(max_size=8))))
    def feed(data: bytes) -> None:
        wrong[0] = data
        assert reader.measure_absorbance(["cuvette"], NADH)["cuvette"] == Reading(0.45)

    feed()
    reader.close()


def test_malformed_commands_raise_nothing(make_reader):
    fuzz_the_reader(make_reader, 150)


def test_malformed_replies_are_never_an_absorbance(make_reader):
    fuzz_the_adapter(make_reader, 15)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_malformed_commands_and_replies(make_reader):
    fuzz_the_reader(make_reader, 10_000)
    fuzz_the_adapter(make_reader, 10_000)
