"""Records for experiment trackers: TensorBoard, Weights & Biases and MLflow, one run of theirs for each of ours."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ConfigError
from harness.records import RunRecord
from harness.runs.store import Store
from harness.visible import block
from reports.export.records import configuration, metrics, missing_library

if TYPE_CHECKING:
    from mlflow import MlflowClient

MLFLOW_BATCH = 1000
"""Metrics that MLflow takes at once."""


def to_tensorboard(records: Sequence[RunRecord], folder: Path) -> None:
    """One event file per run below `folder`. Raises ConfigError without tensorboard."""
    try:
        from tensorboard.summary import Writer
    except ImportError as error:
        raise missing_library("TensorBoard", "tensorboard") from error
    for record, name in _named(records):
        writer = Writer(str(folder / name))
        for title, value in metrics(record).items():
            writer.add_scalar(title, value, 0)
        for epoch, loss in _losses(record):
            writer.add_scalar("loss", loss, epoch)
        writer.close()


def to_wandb(records: Sequence[RunRecord], folder: Path) -> None:
    """A run of W&B each, its local files in `folder`; the project and the mode are wandb's own settings.

    What wandb would tell of this machine and process is left out: the runs were not done here. Raises ConfigError without wandb,
    and where it isn't logged in.
    """
    try:
        import wandb
    except ImportError as error:
        raise missing_library("Weights & Biases", "wandb") from error
    folder.mkdir(parents=True, exist_ok=True)
    for record, name in _named(records):
        about = {"name": name, "group": block(record.key.suite), "config": configuration(record), "dir": str(folder)}
        settings = wandb.Settings(
            host=record.environment.hostname_sha256[:12], console="off", disable_code=True, disable_git=True, quiet=True,
            x_disable_meta=True, x_disable_stats=True, x_save_requirements=False,
        )  # fmt: skip
        try:
            run = wandb.init(**about, settings=settings)
        except wandb.errors.UsageError as error:
            raise ConfigError(
                f"W&B refuses: {error}", "Log in by `wandb login`, or write local files: WANDB_MODE=offline"
            ) from error
        for epoch, loss in _losses(record):
            run.log({"loss": loss}, step=epoch)
        run.summary.update(metrics(record))
        run.finish(exit_code=0 if record.status == "ok" else 1)


def to_mlflow(records: Sequence[RunRecord], folder: Path) -> None:
    """A run of MLflow each, in the experiment named after its suite; `folder` holds the database, ``mlflow.db``, and artifacts."""
    try:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param
    except ImportError as error:
        raise missing_library("MLflow", "mlflow") from error
    folder.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(f"sqlite:///{(folder.resolve() / 'mlflow.db').as_posix()}")
    for record, name in _named(records):
        start = _milliseconds(record.started_at)
        run = client.create_run(_experiment(client, block(record.key.suite), folder), start, run_name=name).info.run_id
        settings = configuration(record)
        client.log_dict(run, settings, "configuration.json")
        plain = {k: str(v)[:500] for k, v in settings.items() if not isinstance(v, dict | list | None)}
        client.log_batch(run, params=[Param(key, value) for key, value in plain.items()])
        values = [(title, value, 0) for title, value in metrics(record).items()]
        values += [("loss", loss, epoch) for epoch, loss in _losses(record)]
        for at in range(0, len(values), MLFLOW_BATCH):
            some = values[at : at + MLFLOW_BATCH]
            client.log_batch(run, [Metric(_mlflow_name(title), value, start, step) for title, value, step in some])
        finished = "FINISHED" if record.status == "ok" else "FAILED"
        client.set_terminated(run, finished, start + round(1000 * record.total_seconds))


TRACKERS: Mapping[str, Callable[[Sequence[RunRecord], Path], None]] = {
    "tensorboard": to_tensorboard,
    "wandb": to_wandb,
    "mlflow": to_mlflow,
}


def _experiment(client: MlflowClient, name: str, folder: Path) -> str:
    """The id of the experiment of this name, made where there is none."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(name, artifact_location=(folder.resolve() / "artifacts").as_uri()))


def _mlflow_name(title: str) -> str:
    """A metric's name with only what MLflow takes: no sign but these, no part that a path would leave out."""
    parts = (re.sub(r"[^\w. :-]", "_", part, flags=re.ASCII) for part in title.split("/"))
    return "/".join(part for part in parts if part.strip("."))[:250]


def _named(records: Sequence[RunRecord]) -> Iterator[tuple[RunRecord, str]]:
    """Each record with a name that is its own and fit for a path: where the store would keep it, and when it started."""
    for record in records:
        path = Store(Path()).path(record.key).with_suffix("")
        yield record, f"{path.as_posix()}-{_stamp(record.started_at)}"


def _stamp(started_at: str) -> str:
    try:
        return datetime.fromisoformat(started_at).strftime("%Y%m%d%H%M%S")
    except ValueError:
        return "undated"


def _milliseconds(started_at: str) -> int:
    """Since 1970; 0 for a time that is none."""
    try:
        return round(1000 * datetime.fromisoformat(started_at).timestamp())
    except ValueError:
        return 0


def _losses(record: RunRecord) -> Iterator[tuple[int, float]]:
    return ((i, loss) for i, loss in enumerate(record.epoch_losses, 1) if loss is not None and math.isfinite(loss))
