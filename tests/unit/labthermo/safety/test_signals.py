"""A signal is heard at once, but never in the middle of a talk, nor on the way to the safe state."""
# ruff: noqa: PT012 - a signal ends a block, not a statement

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from labthermo.errors import InstrumentError
from labthermo.safety.signals import ECHO, SIGNALS, Stopped, deaf, shielded, stop_on_signals


def kill(signum: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), signum)
    time.sleep(0.001)  # let the handler run


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_at_once_with_its_exit_code(signum, code):
    with pytest.raises(Stopped) as stopped, stop_on_signals():
        kill(signum)
        pytest.fail("not stopped")
    assert stopped.value.code == code
    assert isinstance(stopped.value, KeyboardInterrupt)


def test_within_a_shield_it_waits_for_the_end_of_the_outermost():
    done = []
    with pytest.raises(Stopped), stop_on_signals(), shielded():
        with shielded():
            kill()
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]


def test_a_signal_is_not_forgotten_nor_kept_when_the_shielded_talk_fails():
    with stop_on_signals():
        with pytest.raises(Stopped) as stopped, shielded():
            kill()
            raise InstrumentError("gone")
        assert isinstance(stopped.value.__context__, InstrumentError)
        with deaf(), shielded():
            pass  # nothing is left that would break off the way to the safe state
        with shielded():
            pass


def test_on_the_way_to_the_safe_state_nothing_is_heard():
    with stop_on_signals():
        with deaf():
            for signum in SIGNALS:
                kill(signum)
            with shielded():
                kill()
        with pytest.raises(Stopped):
            kill()


def test_an_echo_is_not_heard_but_a_later_signal_is():
    with stop_on_signals():
        with pytest.raises(Stopped):
            kill()
        kill()
        with shielded():
            kill(signal.SIGTERM)
        time.sleep(ECHO)
        with pytest.raises(Stopped):
            kill(signal.SIGTERM)


def test_handlers_are_given_back_and_may_be_nested():
    before = [signal.getsignal(s) for s in SIGNALS]
    with stop_on_signals():
        inside = [signal.getsignal(s) for s in SIGNALS]
        with stop_on_signals(), deaf():
            pass
        assert [signal.getsignal(s) for s in SIGNALS] == inside != before
    assert [signal.getsignal(s) for s in SIGNALS] == before


def test_other_threads_are_left_alone():
    seen = []

    def work() -> None:
        with stop_on_signals(), shielded(), deaf():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
