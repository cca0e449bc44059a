"""Ctrl-C in a suite."""

import os
import signal

import pytest

from harness.session import Interrupts


class Closing:
    """Is interrupted in its finalizer, where Python drops the exception."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_that_python_drops_is_raised_by_the_next_check(monkeypatch):
    dropped = []
    monkeypatch.setattr("sys.unraisablehook", lambda found: dropped.append(found.exc_type))
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Interrupts() as interrupts:
            interrupts.check()
            closing = Closing()
            del closing
            assert dropped == [KeyboardInterrupt]
            with pytest.raises(KeyboardInterrupt):
                interrupts.check()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_where_it_is_ignored_it_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGINT)
            interrupts.check()
    finally:
        signal.signal(signal.SIGINT, before)
