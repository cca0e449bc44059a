"""The command ``adaptbench worker``: what executors start. It does runs of an order until none is left, or its time is up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.run import do
from harness.runs.executors import read_order


def worker_(
    order: Annotated[Path, typer.Argument(help="The file that 'adaptbench run --executor NAME' has written.")],
) -> None:
    """Do the runs of an order: what executors start on other machines."""
    request, options = read_order(order)
    do(request, options)
