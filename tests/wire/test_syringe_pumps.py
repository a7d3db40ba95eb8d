"""The NE-1000 on a pseudo-terminal: by the maker's manual, under the stock driver, and through the adapter."""

from __future__ import annotations

import binascii
import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import nesp_lib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instruments.ne1000 import AlarmError, Ne1000
from instruments.transport import RebootError
from labthermo.errors import InstrumentError, LimitError
from labthermo.faults import REPLIES, read_fault
from labthermo.instrument import Reading
from labthermo.station import lock_of
from labthermo.testing import check_instrument
from simulators.faults import Chance, FaultyInstrument
from simulators.wire.ne1000 import Ne1000Personality
from simulators.wire.server import Servers

UL_PER_MIN = 1e-6 / 60.0


class Unhurried:
    """Bench time passes only when told."""

    def catch_up(self) -> None: ...

    def ahead(self) -> float:
        return 0.0


@dataclass
class PumpBench:
    world: Any
    pump: Ne1000Personality
    line: FaultyInstrument
    servers: Servers

    @property
    def address(self) -> str:
        return self.servers.addresses["feed"]

    def adapter(self, **options: Any) -> Ne1000:
        return Ne1000("feed", self.address, **{"timeout": 0.2, "syringe_volume": 0.06, **options})


@pytest.fixture
def make_pump(make_bench: Callable[..., Any]) -> Iterator[Callable[..., PumpBench]]:
    with contextlib.ExitStack() as stack:

        def make() -> PumpBench:
            world = make_bench().world
            pump = Ne1000Personality("feed", world)
            line = FaultyInstrument(pump, Unhurried())  # pyright: ignore[reportArgumentType]
            return PumpBench(world, pump, line, stack.enter_context(Servers({"feed": line})))

        yield make


@pytest.fixture
def bench(make_pump: Callable[..., PumpBench]) -> PumpBench:  # shadows the electrical one
    return make_pump()


@pytest.fixture
def stock(bench: PumpBench) -> Iterator[nesp_lib.Pump]:
    with nesp_lib.Port(bench.address.removeprefix("ASRL").removesuffix("::INSTR"), 19200) as port:
        yield nesp_lib.Pump(port)


def ask(pump: Ne1000Personality, command: str) -> str:
    """What a pump answers to one basic command, without its frame."""
    reply = pump.handle(command.encode() + b"\r")
    assert reply is not None
    assert (reply[:1], reply[-1:]) == (b"\x02", b"\x03")
    return reply[1:-1].decode()


def packet(body: bytes) -> bytes:
    return b"\x02" + bytes([len(body) + 4]) + body + binascii.crc_hqx(body, 0).to_bytes(2, "big") + b"\x03"


# ------------------------------------------------------------------------------------------------------- by the manual


def test_the_manuals_packet_that_leaves_safe_mode_has_our_checksum():
    assert packet(b"SAF0") == bytes([0x02, 0x08, *b"SAF0", 0x55, 0x43, 0x03])


def test_replies_have_the_manuals_form(bench):
    pump = bench.pump
    assert ask(pump, "") == "00S"
    assert ask(pump, "VER") == "00SNE1000V3.923"
    assert ask(pump, " d i a 14.0 ") == "00S"  # blanks are dropped, letters become capitals
    assert ask(pump, "VOL") == "00S0.000UL"
    assert ask(pump, "DIA14.01") == "00S"
    assert ask(pump, "VOL") == "00S0.000ML"
    assert ask(pump, "RAT12.5UM") == "00S"
    assert ask(pump, "RAT") == "00S12.50UM"
    assert ask(pump, "RUN") == "00I"
    assert ask(pump, "STP") == "00P"
    assert ask(pump, "STP") == "00S"
    assert ask(pump, "DIS") == "00SI0.000W0.000ML"
    assert pump.handle(b"17VER\r") is None  # another pump's


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("XYZ", "?"),
        ("RAT123456", "?"),
        ("RAT1.2345", "?"),
        ("RAT9999MM", "?OOR"),
        ("DIA0.05", "?OOR"),
        ("STP", "?NA"),
        ("DIRUP", "?"),
        ("CLD", "?"),
        ("SAF256", "?OOR"),
    ],
)
def test_what_it_refuses_changes_nothing(bench, command, error):
    before = [ask(bench.pump, question) for question in ("RAT", "DIA", "VOL", "DIR", "SAF")]
    assert ask(bench.pump, command) == f"00S{error}"
    assert [ask(bench.pump, question) for question in ("RAT", "DIA", "VOL", "DIR", "SAF")] == before


def test_while_it_pumps_the_rate_may_change_but_not_its_units(bench):
    pump = bench.pump
    ask(pump, "RAT50UM")
    ask(pump, "RUN")
    assert ask(pump, "RAT60") == "00I"
    assert ask(pump, "RAT60UH") == "00I?NA"
    assert ask(pump, "DIA20") == "00I?NA"
    assert ask(pump, "VOL1") == "00I?NA"
    assert bench.world.flows["feed.output"][:2] == pytest.approx((60 * UL_PER_MIN, 60 * UL_PER_MIN))


def test_it_counts_what_it_pumps_and_stops_at_its_volume(bench):
    pump, world = bench.pump, bench.world
    for command in ("DIA10", "RAT60UM", "VOL30", "RUN"):
        ask(pump, command)
    assert world.flows["feed.output"][2] == pytest.approx(30.0)  # s
    world.time += 20
    assert ask(pump, "DIS") == "00II20.00W0.000UL"
    world.time += 20
    assert ask(pump, "DIS") == "00SI30.00W0.000UL"
    assert ask(pump, "CLDINF") == "00S"
    assert ask(pump, "DIS") == "00SI0.000W0.000UL"


def test_an_empty_syringe_stalls_the_motor_and_the_alarm_is_said_once(bench):
    pump, world = bench.pump, bench.world
    pump.fill(10e-6)
    for command in ("RAT60UM", "RUN"):
        ask(pump, command)
    assert world.flows["feed.output"][2] == pytest.approx(10.0)
    world.time += 11
    assert ask(pump, "RAT1UM") == "00A?S"
    assert ask(pump, "RAT") == "00S60.00UM"  # what was answered by the alarm was not done
    assert pump.dispensed["I"] == pytest.approx(10e-6)


def test_power_failure_keeps_the_settings_forgets_the_volume_and_is_told(bench):
    pump, world = bench.pump, bench.world
    for command in ("DIA10", "RAT60UM", "RUN"):
        ask(pump, command)
    world.time += 20
    pump.reboot()
    assert world.flows["feed.output"][1] == 0.0
    assert ask(pump, "") == "00A?R"
    assert ask(pump, "RAT") == "00S60.00UM"
    assert ask(pump, "DIS") == "00SI0.000W0.000UL"


def test_safe_mode_checks_every_packet_and_times_out(bench):
    pump, world = bench.pump, bench.world
    assert pump.handle(packet(b"0SAF10")) == packet(b"00S")
    assert pump.handle(b"0VER\r") is None
    assert pump.handle(packet(b"0VER")) == packet(b"00SNE1000V3.923")
    spoiled = packet(b"0RUN")[:-2] + b"\0\x03"
    assert pump.handle(spoiled) == packet(b"00S?COM")
    pump.handle(packet(b"0RUN"))
    world.time += 11
    assert pump.handle(packet(b"0")) == packet(b"00A?T")
    assert world.flows["feed.output"][1] == 0.0
    assert pump.handle(packet(b"SAF0")) == b"\x0200S\x03"


# ---------------------------------------------------------------------------------------------------- the stock driver


def test_the_stock_driver_constructs_sets_runs_and_stops(bench, stock):
    assert (stock.model_number, stock.firmware_version, stock.safe_mode_timeout_s) == (1000, (3, 923), 0)
    stock.syringe_diameter_mm = 14.57
    assert stock.syringe_diameter_mm == 14.57
    stock.pumping_direction = nesp_lib.PumpingDirection.INFUSE
    assert stock.pumping_direction is nesp_lib.PumpingDirection.INFUSE
    stock.pumping_volume_ml = 0.5
    assert stock.pumping_volume_ml == 0.5
    stock.pumping_rate_ml_per_min = 0.05
    assert stock.pumping_rate_ml_per_min == pytest.approx(0.05)
    stock.run(wait_while_running=False)
    assert stock.running
    assert bench.world.flows["feed.output"][1] == pytest.approx(50 * UL_PER_MIN)
    bench.servers.call(lambda: bench.world.wait(60.0))
    assert stock.volume_infused_ml == pytest.approx(0.05)
    assert stock.volume_withdrawn_ml == 0.0
    stock.stop()
    assert stock.status is nesp_lib.Status.PAUSED
    stock.volume_infused_clear()
    assert stock.volume_infused_ml == 0.0
    stock.stop()  # the first only pauses
    stock.run_purge()
    assert stock.status is nesp_lib.Status.PURGING
    stock.stop()
    assert stock.status is nesp_lib.Status.STOPPED


def test_the_stock_driver_in_safe_mode(bench, stock):
    stock.safe_mode_timeout_s = 100
    assert stock.safe_mode_timeout_s == 100
    assert stock.syringe_diameter_mm == 26.59
    stock.safe_mode_timeout_s = 0
    assert stock.syringe_diameter_mm == 26.59


def test_the_stock_driver_meets_alarms_and_errors(bench, stock):
    with pytest.raises(nesp_lib.StateException):
        stock.stop()
    with pytest.raises(ValueError, match="exceeds limit"):
        stock.pumping_rate_ml_per_min = 5000.0
    stock.pumping_rate_ml_per_min = 0.05
    stock.run(wait_while_running=False)
    bench.servers.call(bench.pump.stall)
    with pytest.raises(nesp_lib.StatusAlarmException) as alarm:
        _ = stock.status
    assert alarm.value.alarm_status is nesp_lib.AlarmStatus.STALLED
    assert stock.status is nesp_lib.Status.STOPPED


def test_the_stock_driver_cuts_numbers_off_and_cannot_change_the_rate_across_units(bench, stock):
    """Two of its defects, and that the adapter has neither."""
    stock.pumping_rate_ml_per_min = 17.4e-3 / 10  # 104.4 uL/h after 104.39999999999999
    assert bench.pump.rate == pytest.approx(104.3)
    stock.pumping_rate_ml_per_min = 0.15
    stock.run(wait_while_running=False)
    with pytest.raises(nesp_lib.StateException):
        stock.pumping_rate_ml_per_min = 0.18
    stock.stop()
    stock.stop()
    pump = bench.adapter()
    pump.prepare_rate_range(200 * UL_PER_MIN)
    for rate in (1.74, 150.0, 180.0):
        pump.set_rate(rate * UL_PER_MIN)
        assert pump.rate() == pytest.approx(rate * UL_PER_MIN, abs=pump.rate_resolution())
        assert bench.world.flows["feed.output"][0] == pytest.approx(rate * UL_PER_MIN, abs=pump.rate_resolution() / 2)
    pump.close()


def test_the_stock_drivers_constructor_forgets_a_power_failure_and_the_adapter_does_not(bench):
    bench.pump.reboot()
    with nesp_lib.Port(bench.address.removeprefix("ASRL").removesuffix("::INSTR"), 19200) as port:
        assert nesp_lib.Pump(port).status is nesp_lib.Status.STOPPED  # not a word of the alarm
    bench.servers.call(bench.pump.reboot)
    pump = bench.adapter()
    assert pump.rebooted
    assert pump.infused_volume().flag == "invalid"
    pump.close()


# --------------------------------------------------------------------------------------------------------- the adapter


def test_it_conforms_with_any_syringe(bench):
    check_instrument(bench.adapter)
    check_instrument(lambda: bench.adapter(refill_rate=1e-4))
    check_instrument(lambda: bench.adapter(diameter=4.699e-3, syringe_volume=1e-3))
    assert bench.pump.diameter == pytest.approx(4.70)


def test_the_span_is_that_of_the_data_sheet(bench):
    """1699 mL/h with a syringe of 60 mL, and 0.73 uL/h with one of 1 mL: NE-1000, specifications."""
    with contextlib.closing(bench.adapter()) as large:
        assert large.rate_span()[1] * 3600 == pytest.approx(1.699, rel=1e-3)
    with contextlib.closing(bench.adapter(diameter=4.699e-3)) as small:
        small.prepare_rate_range(1e-9)
        assert small.rate_span()[0] * 3600 == pytest.approx(0.73e-6, rel=2e-3)


def test_a_silent_pump_is_an_error_within_its_deadlines_where_the_stock_driver_blocks_for_ever(bench):
    pump = bench.adapter(timeout=0.05)
    bench.servers.call(lambda: bench.line.inject(read_fault({"on": "feed", "kind": "silent", "count": 1000})))
    with pytest.raises(InstrumentError, match="no reply within"):
        pump.set_rate(1e-6)
    with pytest.raises(InstrumentError, match="the line is closed"):
        pump.rate()


def test_a_stall_makes_the_volume_invalid_until_it_is_homed(bench):
    pump = bench.adapter()
    pump.prepare_rate_range(100 * UL_PER_MIN)
    pump.set_rate(60 * UL_PER_MIN)
    bench.servers.call(lambda: bench.world.wait(120.0))
    assert pump.infused_volume() == Reading(pytest.approx(120e-6))
    assert pump.remaining_volume().value == pytest.approx(0.06 - 120e-6)
    bench.servers.call(bench.pump.stall)
    with pytest.raises(AlarmError, match="has stalled"):
        pump.refuse_reboot()
    assert pump.infused_volume().flag == pump.remaining_volume().flag == "invalid"
    for _ in range(2):
        with pytest.raises(AlarmError, match="home the pump"):
            pump.set_rate(60 * UL_PER_MIN)
    assert bench.world.flows["feed.output"][1] == 0.0
    pump.set_rate(0.0)
    pump.home(0.05)
    assert pump.remaining_volume() == Reading(0.05)
    pump.set_rate(60 * UL_PER_MIN)
    assert pump.rate() == pytest.approx(60 * UL_PER_MIN)
    pump.close()


def look_often(pump: Ne1000) -> None:
    for _ in range(4):
        pump.refuse_reboot()
        pump.rate()


def test_something_clogged_or_an_empty_syringe_stalls_it_and_says_so(bench):
    pump = bench.adapter()
    pump.prepare_rate_range(100 * UL_PER_MIN)
    pump.set_rate(60 * UL_PER_MIN)
    for kind in ("overpressure", "empty_syringe"):
        bench.servers.call(lambda kind=kind: bench.line.inject(read_fault({"on": "feed", "kind": kind, "count": 4})))
        with pytest.raises(AlarmError, match="has stalled"):
            look_often(pump)
        assert pump.infused_volume().flag == "invalid"
        bench.servers.call(lambda: bench.pump.fill(0.05))
        for _ in range(4):
            pump.set_rate(0.0)
        pump.home(0.05)
        pump.set_rate(60 * UL_PER_MIN)
        assert bench.world.flows["feed.output"][1] > 0
    pump.close()


def test_a_bubble_is_counted_as_volume_and_the_count_is_not_called_measured(bench):
    """Nothing in a syringe pump sees air: what flows is less than what is read back, and only the world knows."""
    pump = bench.adapter()
    pump.prepare_rate_range(100 * UL_PER_MIN)
    pump.set_rate(60 * UL_PER_MIN)
    full = bench.world.flows["feed.output"][1]
    bench.servers.call(lambda: bench.line.inject(read_fault({"on": "feed", "kind": "bubble", "share": "30 %"})))
    assert pump.rate() == pytest.approx(60 * UL_PER_MIN)
    assert bench.world.flows["feed.output"][1] == pytest.approx(0.7 * full)
    assert not pump.measured
    pump.close()


def test_an_alarm_that_the_driver_meets_is_not_lost(bench):
    pump = bench.adapter()
    pump.prepare_rate_range(100 * UL_PER_MIN)
    handle = bench.pump.handle

    def stalls_at_run(message: bytes) -> bytes | None:
        if message == b"0RUN\r":
            bench.pump.stall()
        return handle(message)

    bench.pump.handle = stalls_at_run
    with pytest.raises(AlarmError):
        pump.set_rate(60 * UL_PER_MIN)
    assert pump.infused_volume().flag == "invalid"
    pump.close()


def test_a_power_failure_while_it_pumps_is_noticed_and_nothing_is_pumped_on(bench):
    pump = bench.adapter()
    pump.prepare_rate_range(100 * UL_PER_MIN)
    pump.set_rate(60 * UL_PER_MIN)
    bench.servers.call(bench.pump.reboot)
    for _ in range(2):
        with pytest.raises(RebootError, match="switched off and on"):
            pump.set_rate(61 * UL_PER_MIN)
    assert bench.world.flows["feed.output"][1] == 0.0
    pump.close()


def test_what_the_syringe_cannot_do_is_refused_before_anything_is_sent(bench):
    pump = bench.adapter()
    heard = len(bench.world.log)
    for bad in (math.nan, math.inf, -1e-6, 1.0):
        with pytest.raises(LimitError, match="nothing was set"):
            pump.set_rate(bad)
    assert len(bench.world.log) == heard
    pump.close()


def test_a_second_name_of_a_serial_port_has_the_same_lock(bench, tmp_path):
    path = bench.address.removeprefix("ASRL").removesuffix("::INSTR")
    (tmp_path / "by-id").symlink_to(path)
    assert lock_of(f"ASRL{tmp_path / 'by-id'}::INSTR") == lock_of(bench.address)
    with contextlib.closing(Ne1000("feed", f"ASRL{tmp_path / 'by-id'}::INSTR")) as pump:
        assert pump.rate() == 0.0


def test_at_five_per_cent_faulted_replies_no_wrong_rate_is_accepted(bench):
    """Digit faults stay within the grammar; judged by what the world saw flow."""
    pump = bench.adapter(timeout=0.05)
    pump.prepare_rate_range(100 * UL_PER_MIN)
    kinds = tuple(kind for kind in REPLIES if kind != "late")
    bench.servers.call(lambda: bench.line.risk(Chance(0.05, kinds, seed=4)))
    dice = np.random.default_rng(1)
    for rate in dice.uniform(1.0, 99.0, 60) * UL_PER_MIN:
        pump.set_rate(float(rate))
        assert abs(bench.world.flows["feed.output"][0] - rate) <= pump.rate_resolution()
        assert abs(pump.rate() - rate) <= pump.rate_resolution()
    assert bench.line.spoiled > 5
    assert len(pump.incidents) >= bench.line.spoiled / 2
    pump.close()


def test_a_late_reply_is_not_taken_for_the_next_one(bench):
    pump = bench.adapter(timeout=0.1)
    pump.prepare_rate_range(100 * UL_PER_MIN)
    for rate in (20, 30):
        late = read_fault({"on": "feed", "kind": "late", "after": 1, "delay": 0.15})
        bench.servers.call(lambda late=late: bench.line.inject(late))
        pump.set_rate(rate * UL_PER_MIN)
        assert pump.rate() == pytest.approx(rate * UL_PER_MIN)
    assert pump.incidents
    pump.close()


# --------------------------------------------------------------------------------------------------------------- fuzz

SMALL, LARGE = 150, 10_000
COMMANDS = st.one_of(
    st.binary(max_size=24),
    st.builds(
        lambda word, rest: word + rest,
        st.sampled_from([b"RAT", b"VOL", b"DIA", b"DIR", b"0SAF", b"DIS", b"CLD", b"\x02", b"\x02\x09", b"99", b"*"]),
        st.binary(max_size=12),
    ),
)


def fuzz_the_pump(make_pump: Callable[..., PumpBench], examples: int) -> None:
    bench = make_pump()
    before = len(bench.world.log)

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(COMMANDS)
    def feed(data: bytes) -> None:
        if b"RUN" in data.upper() or b"PUR" in data.upper():
            return  # these are meant to move it
        received = bytearray(data + b"\r")
        for _ in range(len(received)):
            message = bench.pump.split(received)
            if message is None:
                break
            reply = bench.pump.handle(message)
            assert reply is None or reply[:1] == b"\x02"

    feed()
    assert len(bench.world.log) == before  # not a drop


def fuzz_the_adapter(make_pump: Callable[..., PumpBench], examples: int) -> None:
    bench = make_pump()
    pump = bench.adapter(timeout=0.01)
    pump.prepare_rate_range(100 * UL_PER_MIN)
    handle, count = bench.pump.handle, itertools.count()
    wrong: list[bytes] = [b""]

    def garble(message: bytes) -> bytes | None:
        reply = handle(message)
        return wrong[0] + b"\x03" if next(count) == 0 else reply

    bench.pump.handle = garble

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(st.binary(max_size=12), st.builds(lambda tail: b"\x0200" + tail, st.binary(max_size=8))))
    def feed(data: bytes) -> None:
        nonlocal count
        if data.startswith(b"\x0200A?"):
            return  # a well-formed alarm is believed
        wrong[0], count = data.replace(b"\x03", b""), itertools.count()
        assert pump.rate() == 0.0

    feed()
    assert bench.world.flows["feed.output"][1] == 0.0
    pump.close()


def test_malformed_bytes_move_nothing_and_raise_nothing(make_pump):
    fuzz_the_pump(make_pump, SMALL)


def test_malformed_replies_are_never_a_rate(make_pump):
    fuzz_the_adapter(make_pump, 40)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_thousand_malformed_lines_and_replies(make_pump):
    fuzz_the_pump(make_pump, LARGE)
    fuzz_the_adapter(make_pump, LARGE)


# ----------------------------------------------------------------------------------------------------- filling it again

REFILL = 1e-4  # L/s


def refillable(bench: PumpBench, **options: Any) -> Ne1000:
    pump = bench.adapter(refill_rate=REFILL, **options)
    pump.prepare_rate_range(1e-5)
    return pump


def wait(bench: PumpBench, duration: float) -> None:
    bench.servers.call(lambda: bench.world.wait(duration))


def infuse(bench: PumpBench, pump: Ne1000, rate: float, duration: float) -> None:
    pump.set_rate(rate)
    wait(bench, duration)
    pump.set_rate(0.0)


def test_withdrawing_fills_the_syringe_up_to_its_size_and_stalls_there(bench):
    pump, world = bench.pump, bench.world
    pump.install(10e-6, valves=True)
    for command in ("DIA10", "RAT60UM", "VOL6", "RUN"):
        assert ask(pump, command).startswith("00")
    world.time += 10
    assert ask(pump, "DIS") == "00SI6.000W0.000UL"
    assert pump.content == pytest.approx(4e-6)
    assert (ask(pump, "DIRWDR"), ask(pump, "RUN")) == ("00S", "00W")
    assert world.flows["feed.output"] == pytest.approx((-60 * UL_PER_MIN, -60 * UL_PER_MIN, 6.0))
    world.time += 10
    assert ask(pump, "DIS") == "00SI6.000W6.000UL"
    assert pump.content == pytest.approx(10e-6)
    assert ask(pump, "RUN") == "00W"
    world.time += 1
    assert ask(pump, "") == "00A?S"
    assert pump.content == pytest.approx(10e-6)


def test_without_check_valves_it_would_suck_from_the_vessel_which_is_refused(bench):
    pump = bench.pump
    pump.install(10e-6, valves=False)
    for command in ("DIRWDR", "RUN", "PUR"):
        reply = ask(pump, command)
    assert reply == "00S?NA"
    for command in ("DIRINF", "RUN"):
        assert ask(pump, command)[:3] != "00A"
    assert ask(pump, "DIRWDR") == "00I?NA"
    assert bench.world.flows["feed.output"][1] > 0.0


def test_it_draws_what_it_has_infused_and_counts_from_full_again(bench):
    bench.pump.install(0.06, valves=True)
    pump = refillable(bench)
    infuse(bench, pump, 1e-5, 3000.0)
    assert pump.remaining_volume() == Reading(pytest.approx(0.03))
    lasts = pump.start_refill()
    assert lasts == pytest.approx(300.0)
    assert pump.rate() == pytest.approx(-REFILL)
    assert bench.world.flows["feed.output"][:2] == pytest.approx((-REFILL, -REFILL))
    assert pump.infused_volume().flag == "invalid"
    wait(bench, lasts + 1.0)
    assert pump.finish_refill() == pytest.approx(0.03)
    assert bench.pump.content == pytest.approx(0.06)
    assert (pump.remaining_volume(), pump.infused_volume()) == (Reading(0.06), Reading(0.0))
    assert [ask(bench.pump, c) for c in ("DIR", "VOL", "DIS")] == ["00SINF", "00S0.000ML", "00SI0.000W0.000ML"]
    pump.set_rate(1e-5)
    assert bench.world.flows["feed.output"][0] == pytest.approx(1e-5, rel=1e-3)
    with pytest.raises(InstrumentError, match="feed: is pumping; stop it before it is refilled"):
        pump.start_refill()
    pump.set_rate(0.0)
    assert pump.start_refill() == 0.0  # next to nothing is missing
    pump.close()


def stall(bench: PumpBench) -> None:
    bench.servers.call(bench.pump.stall)


def stop_by_hand(bench: PumpBench) -> None:
    bench.servers.call(lambda: [ask(bench.pump, "STP") for _ in range(2)])


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (stall, "feed: has stalled"),
        (stop_by_hand, "feed: its refill did not end as it should: 0.01 L of 0.03 L"),
        (lambda bench: None, "feed: its refill did not end as it should: 0.01 L of 0.03 L .* status is 'W'"),
        (lambda bench: bench.servers.call(bench.pump.reboot), "feed .*switched off and on"),
    ],
    ids=["stall", "stopped by hand", "still running", "power failure"],
)
def test_a_refill_that_goes_wrong_leaves_the_pump_at_rest_and_its_volumes_invalid(bench, happens, said):
    bench.pump.install(0.06, valves=True)
    pump = refillable(bench)
    infuse(bench, pump, 1e-5, 3000.0)
    pump.start_refill()
    wait(bench, 100.0)
    happens(bench)
    with pytest.raises(InstrumentError, match=said):
        pump.finish_refill()
    assert bench.world.flows["feed.output"][1] == 0.0
    assert pump.remaining_volume().flag == "invalid"
    with pytest.raises(InstrumentError):
        pump.start_refill()
    if not pump.rebooted and "off" not in said:
        bench.servers.call(lambda: bench.pump.fill(0.06))
        pump.home(0.06)
        pump.set_rate(1e-5)
        assert bench.world.flows["feed.output"][0] == pytest.approx(1e-5, rel=1e-3)  # never into the syringe
    pump.close()


def cleared_by_half(bench: PumpBench) -> None:
    wait(bench, 1000.0)
    bench.servers.call(lambda: ask(bench.pump, "CLDINF"))


@pytest.mark.parametrize(
    ("until", "left"),
    [
        (lambda bench: wait(bench, 100.0), 0.04),
        (lambda bench: wait(bench, 1000.0), 0.06),
        (cleared_by_half, 0.06),
    ],
    ids=["drawing", "done", "half of it cleared"],
)
def test_whoever_opens_the_pump_after_a_refill_was_broken_off_knows_what_is_left(bench, until, left):
    """The pump has both counts, and its direction says that a refill was under way."""
    bench.pump.install(0.06, valves=True)
    pump = refillable(bench)
    infuse(bench, pump, 1e-5, 3000.0)
    pump.start_refill()
    until(bench)
    pump.close()
    again = bench.adapter(refill_rate=REFILL)
    drawing = again.rate() < 0.0
    assert drawing == (left < 0.06)
    if drawing:
        assert bench.world.flows["feed.output"][0] < 0.0
    again.set_rate(0.0)
    again.prepare_rate_range(1e-5)
    assert again.remaining_volume() == Reading(pytest.approx(left, abs=1e-5))
    assert bench.pump.content == pytest.approx(left, abs=1e-5)
    infuse(bench, again, 1e-5, 100.0)
    lasts = again.start_refill()
    wait(bench, lasts + 1.0)
    if lasts:
        again.finish_refill()
        assert bench.pump.content == pytest.approx(0.06, abs=1e-5)
    again.close()


def test_options_that_do_not_go_together_are_refused(bench):
    for options, said in {
        (("refill_rate", 1e-4), ("syringe_volume", 0.0)): "feed: refill_rate needs syringe_volume",
        (("refill_rate", 1.0), ("syringe_volume", 0.06)): "feed: 60 L/min is outside",
        (("refill_rate", math.nan), ("syringe_volume", 0.06)): "feed: nan L/min is outside",
        (("refill_rate", 0.0), ("syringe_volume", -1.0)): "feed: syringe_volume is -1",
    }.items():
        with pytest.raises(LimitError, match=said):
            bench.adapter(**dict(options))
    with contextlib.closing(bench.adapter()) as pump, pytest.raises(InstrumentError, match="feed: is not refilled"):
        pump.start_refill()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(strokes=st.lists(st.lists(st.tuples(st.floats(1e-6, 1e-5), st.floats(1.0, 1800.0)), max_size=3), max_size=4))
def test_what_is_filled_is_what_was_infused(bench, strokes):
    """To the step of the pump's count, each time; and the plunger never meets the end of the barrel."""
    bench.servers.call(lambda: ask(bench.pump, "CLDINF"))
    bench.pump.install(0.06, valves=True)
    pump = refillable(bench)
    filled = infused = 0.0
    times = 0
    for stroke in strokes:
        before = bench.pump.content
        for rate, duration in stroke:
            infuse(bench, pump, rate, duration)
        infused += before - bench.pump.content
        lasts = pump.start_refill()
        if lasts:
            wait(bench, lasts + 1.0)
            filled += pump.finish_refill()
            times += 1
            assert 0.06 - (times + 1) * 1e-5 < bench.pump.content <= 0.06 + 1e-12
    assert bench.pump.content == pytest.approx(0.06 - infused + filled, abs=1e-9)
    pump.close()


@pytest.mark.parametrize("top", [5.0, 100.0, 200.0, 2000.0, 20_000.0])
def test_a_pump_that_is_found_pumping_keeps_its_units_and_their_resolution(bench, top):
    """As after a crash of the program: else no rate could be set, or only a coarse one."""
    first = bench.adapter()
    first.prepare_rate_range(top * UL_PER_MIN)
    first.set_rate(0.9 * top * UL_PER_MIN)
    resolution = first.rate_resolution()
    first.close()
    again = bench.adapter()
    again.prepare_rate_range(top * UL_PER_MIN)
    assert again.rate_resolution() == pytest.approx(resolution)
    assert again.rate_span()[1] >= top * UL_PER_MIN * (1 - 1e-9)
    with pytest.raises(InstrumentError, match="is pumping"):
        again.prepare_rate_range((5.0 if top == 20_000.0 else 20_000.0) * UL_PER_MIN)
    again.set_rate(0.8 * top * UL_PER_MIN)
    assert again.rate() == pytest.approx(0.8 * top * UL_PER_MIN, abs=resolution)
    again.set_rate(0.0)
    again.close()


def test_at_five_per_cent_faulted_replies_a_refill_draws_once_or_says_so(bench):
    """Judged by what the syringe holds: what is taken for full is full, and the plunger never meets the end."""
    bench.pump.install(0.06, valves=True)
    kinds = tuple(kind for kind in REPLIES if kind != "late")
    bench.servers.call(lambda: bench.line.risk(Chance(0.05, kinds, seed=5)))
    done = 0
    failed: list[str] = []
    pump = None
    for k in range(12):
        try:
            if pump is None:
                pump = bench.adapter(timeout=0.05, refill_rate=REFILL)
                pump.set_rate(0.0)
                pump.prepare_rate_range(1e-5)
            infuse(bench, pump, 1e-5, 600.0 + k)
            lasts = pump.start_refill()
            wait(bench, lasts + 1.0)
            if lasts:
                pump.finish_refill()
                done += 1
                assert 0.06 - (done + len(failed) + 1) * 1e-5 <= bench.pump.content <= 0.06 + 1e-12
        except InstrumentError as error:
            failed.append(str(error))
            if pump is not None:
                pump.close()
            pump = None
    assert done > 6
    assert not any("has stalled" in reason for reason in failed)
    if pump is not None:
        pump.close()
