"""AdaptBench in Python: what the commands do, for notebooks and scripts.

    import adaptbench

    adaptbench.run("few-shot", methods=["zero_shot", "clip_adapter"], datasets="demo-digits", shots=[4], seeds=[1])
    adaptbench.load_results("results")  # a pandas.DataFrame
    adaptbench.report("results")  # the path of the page

Importing it costs nothing; torch is imported by `load` and in the processes of runs, pandas by what reads results. Names, files and
sources are those of the command line, and so are the records: a suite begun here goes on there. What a user can put right is an
`AdaptBenchError`: a `ConfigError`, a `DataError` or a `BackboneError`, whose text has the next step.
"""

import sys
from importlib.metadata import version

import adaptbench_command

if _other := adaptbench_command.shadow():
    if sys.argv[:1] == ["-m"]:  # python -m adaptbench
        adaptbench_command.main()  # which says it, and ends
    raise ImportError(_other)

from adaptbench._questions import Question, plan, run
from adaptbench._results import Comparison, compare, load, load_results, report
from harness.errors import AdaptBenchError, BackboneError, ConfigError, DataError
from harness.plan import PlannedRun
from harness.runs.suite_runner import Interrupted, Outcome, Progress

__version__ = version("adaptbench")

__all__ = [
    "AdaptBenchError",
    "BackboneError",
    "Comparison",
    "ConfigError",
    "DataError",
    "Interrupted",
    "Outcome",
    "PlannedRun",
    "Progress",
    "Question",
    "__version__",
    "compare",
    "load",
    "load_results",
    "plan",
    "report",
    "run",
]
