"""A process that was stopped is told from one that waits or works."""

import signal
import subprocess
import sys
import time

import pytest

WORK = """
import time
from harness.meters.heartbeat import Heartbeat
keeps_the_lock = lambda: "no" in "nnn" * 10**8
for work in (lambda: time.sleep(1.8), lambda: [sum(range(10**5)) for _ in range(20)], keeps_the_lock):
    with Heartbeat() as heartbeat:
        print("begun", flush=True)
        work()
    print(heartbeat.stopped_seconds, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no process can be stopped here")
def test_only_a_stop_counts():
    with subprocess.Popen([sys.executable, "-c", WORK], stdout=subprocess.PIPE, text=True) as process:
        for stops in (True, True, False):
            assert process.stdout.readline() == "begun\n"
            stopped, lasted = 0.0, 0.0
            if stops:
                started = time.monotonic()
                process.send_signal(signal.SIGSTOP)
                stopped = time.monotonic()
                time.sleep(1.5)
                stopped = time.monotonic() - stopped
                process.send_signal(signal.SIGCONT)
                lasted = time.monotonic() - started
            said = float(process.stdout.readline())
            assert stopped - 0.25 <= said <= lasted + 1.0
            assert bool(said) == stops
