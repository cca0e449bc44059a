"""``killing.py cold|warm KILLS SHARE FOLDER WORDS...``: a suite by the real command, killed at random moments and begun again.

First it is let run; the kills come within that share of the time that it took. Half of them are the main process's alone, half
the whole process group's. Once the suite has come to its end it begins in a new folder, until there were as many kills. After each
kill no process is left, no record is less than whole, and none is written twice.
Warm, the command's processes are forks of this one, which has imported torch; cold, each is started as a user starts it.
"""

import atexit
import json
import multiprocessing.util
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from harness.__main__ import main
from harness.records import from_json

HANGS_SECONDS = 120
"""How long what is left of a killed suite may take to end, which takes milliseconds, before it counts as an orphan."""


def cold(words, log):
    command = [sys.executable, "-m", "harness", *words]
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True).pid


def warm(words, log):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setsid()
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            multiprocessing.util.spawnv_passfds = forked
            sys.argv = ["adaptbench", *words]
            code = ended(main)
        finally:
            os._exit(code)
    while os.getsid(pid) != pid:  # no group to kill yet
        time.sleep(0.001)
    return pid


def ended(work):
    """The exit code of what ends this process, with what it does at its exit."""
    try:
        work()
    except SystemExit as end:
        code = end.code
    atexit._run_exitfuncs()
    return code


def forked(path, arguments, kept):
    """A new Python that runs some code, for `multiprocessing`, as a fork."""
    pid = os.fork()
    if pid == 0:
        try:
            for number in map(int, os.listdir("/proc/self/fd")):
                if number > 2 and number not in kept:
                    with suppress(OSError):
                        os.close(number)
            for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(each, signal.SIG_DFL)
            exec(arguments[arguments.index("-c") + 1], {"__name__": "__main__"})  # noqa: S102
        finally:
            os._exit(0)
    return pid


def alive(session):
    """The processes of a session that have not ended."""
    found = []
    for number in psutil.pids():
        with suppress(OSError, psutil.Error):
            if os.getsid(number) == session and psutil.Process(number).status() != psutil.STATUS_ZOMBIE:
                found.append(number)
    return found


def has_ended(pid, seconds):
    """Whether a process ends by itself within so many seconds; without a number, it has to."""
    end = time.monotonic() + (HANGS_SECONDS * 10 if seconds is None else seconds)
    while time.monotonic() < end:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return True
        time.sleep(0.002)
    assert seconds is not None, "the suite hangs"
    return False


def look(folder, written):
    """Note the records that are new; those that were there are as they were, and all are whole."""
    here = [path for path in folder.rglob("*.json") if not path.name.startswith(".")]
    for path in here:
        found = path.stat().st_mtime_ns, path.read_bytes()
        assert written.setdefault(path, found) == found, f"{path} was written twice"
        from_json(found[1], path.name)
    assert set(here) == set(written)


def one_suite(start, words, folder, kills, longest_seconds, chance):
    """A suite that is killed until it ends, as often as `kills` at most; how often it was."""
    folder.mkdir(parents=True)
    written, killed = {}, 0
    while True:
        output = folder.with_suffix(".log")
        with output.open("w+b") as log:
            pid = start([*words, "--results", str(folder)], log)
            by_itself = has_ended(pid, chance.uniform(0, longest_seconds) if killed < kills else None)
            if not by_itself:
                (os.killpg if chance.random() < 0.5 else os.kill)(pid, signal.SIGKILL)
                killed += 1
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        end = time.monotonic() + HANGS_SECONDS
        while left := alive(pid):
            assert time.monotonic() < end, f"still running: {left}"
            time.sleep(0.01)
        said = output.read_text()
        assert "Traceback" not in said, said
        if written and "runs are done already" in said:
            assert f"{len(written)} of " in said, said
        look(folder, written)
        if by_itself:
            assert code == 0, said
            assert [path.name for path in (folder / ".claims").iterdir()] == []
            return killed


if __name__ == "__main__":
    how, kills, share, target, *words = sys.argv[1:]
    if how == "warm":
        import torch  # noqa: F401

        import harness.cli.run
        import harness.runs.runner  # noqa: F401
        from harness.clip.backbone import clip_tokenizer

        clip_tokenizer()
    start, chance, counts = globals()[how], random.Random(1), []
    began = time.monotonic()
    one_suite(start, words, Path(target) / "undisturbed", 0, 0, chance)
    longest_seconds = (time.monotonic() - began) * float(share)
    while sum(counts) < int(kills):
        folder = Path(target) / f"suite-{len(counts) + 1}"
        counts.append(one_suite(start, words, folder, int(kills) - sum(counts), longest_seconds, chance))
    print(json.dumps(counts))
