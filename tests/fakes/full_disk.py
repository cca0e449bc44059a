"""``full_disk.py FOLDER WORDS...``: a command with a write below FOLDER that fails, for each kind of file; a line of JSON each.

A write fails in two ways: once, when the file is opened, as on a disk that is full for a moment; and from then on, when anything is
written to any file, as on a full disk. Then the command is repeated, with space again. Runs are done in the command's own process.
"""

import errno
import json
import os
import resource
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from in_process import InProcess

import harness.cli.run
import harness.runs.suite_runner
from harness.__main__ import main
from harness.runs.runner import execute

KINDS = {
    ".claims/worker-": "heartbeat",
    ".claims/": "claim",
    ".plans/": "plan of a suite",
    "experiments/": "experiment's file",
    ".par.": "predictions",  # what is written beside them takes their place: a name of 40 characters, and more
    ".saf.": "saved model",
    ".jso.": "record",
    "/site/": "page of a report",
}


class Fault:
    """An audit hook: notes the kinds of files that are opened to be written below a folder, and has the `nth` of a kind fail."""

    def __init__(self, folder, kind=None, nth=0, lasts=False):
        self.folder, self.kind, self.nth, self.lasts, self.kinds = str(folder), kind, nth, lasts, []

    def __call__(self, event, arguments):
        if event != "open" or not isinstance(arguments[2], int) or not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        path = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes | os.PathLike) else ""
        if not path.startswith(self.folder) or os.path.isdir(path):
            return
        kind = next(kind for part, kind in KINDS.items() if part in path)
        self.kinds.append(kind)
        if kind == self.kind and self.kinds.count(kind) - 1 == self.nth:
            if not self.lasts:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def in_a_fork(work):
    """What `work()` returns in a process of its own, through JSON."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        with open(writer, "w") as pipe:
            json.dump(work(), pipe)
            pipe.flush()
            os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(text)


def outcome(words, fault):
    """What a command comes to: its exit code, what it says, and the kinds of files that it was to write until then."""
    sys.addaudithook(fault)
    sys.argv = ["adaptbench", *words]
    code, out, err = None, StringIO(), StringIO()
    harness.runs.suite_runner.Isolation = lambda *_, **how: InProcess(execute)
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code
        except BaseException as error:
            err.write(f"Traceback: {error!r}")
    return {"kinds": fault.kinds, "code": code, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    target, *words = sys.argv[1:]

    def command(folder, *how):
        folder = Path(target) / folder
        where = [*words, "--results", str(folder / "results"), "--site", str(folder / "site")]
        return in_a_fork(lambda: outcome(where, Fault(folder, *how)))

    written = command("undisturbed")["kinds"]
    for kind in dict.fromkeys(written):
        moments = range(min(2, written.count(kind)))  # most files are opened twice: to be, and to be written
        for nth, lasts in [*((nth, False) for nth in moments), (0, True)]:
            folder = f"{kind} {nth} {lasts}"
            found = command(folder, kind, nth, lasts)
            print(
                json.dumps({**found, "kind": kind, "lasts": lasts, "folder": folder, "again": command(folder)}),
                flush=True,
            )
