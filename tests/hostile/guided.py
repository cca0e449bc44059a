"""``guided.py FILE RUNS FOLDER``: inputs to a reader that follow what they reach in its code, by atheris; a crash is its exit code.

FILE is one of `test_fuzzed.READERS`.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["harness", "suites", "csv", "json", "tarfile", "yaml", "zipfile"]):
    from tests.hostile.conftest import MAKE_RECORD
    from tests.hostile.test_fuzzed import READERS, outcome

if __name__ == "__main__":
    file, runs, folder = sys.argv[1:]
    valid, reader = READERS[file]
    inside, corpus = Path(folder, "inside"), Path(folder, "corpus")
    for each in (inside, corpus):
        each.mkdir(parents=True)
    (corpus / "valid").write_bytes(valid(MAKE_RECORD))
    atheris.Setup(
        [sys.argv[0], f"-runs={runs}", "-max_len=4096", "-seed=1", f"-artifact_prefix={folder}/", str(corpus)],
        lambda data: outcome(reader, inside / file, data),
    )
    atheris.Fuzz()
