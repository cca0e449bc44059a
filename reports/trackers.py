"""Records for experiment trackers: TensorBoard, Weights & Biases and MLflow, one run of theirs for each of ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from harness.records import RunRecord
from harness.store import Store
from reports.export import configuration, metrics, missing_extra


def to_tensorboard(records: Sequence[RunRecord], folder: Path) -> None:
    """An event file a run below `folder`. Raises ConfigError without tensorboard."""
    try:
        from tensorboard.summary import Writer
    except ImportError as error:
        raise missing_extra("TensorBoard", "tensorboard", "tensorboard") from error
    for record, name in _named(records):
        writer = Writer(str(folder / name))
        for title, value in metrics(record).items():
            writer.add_scalar(title, value, 0)
        for epoch, loss in _losses(record):
            writer.add_scalar("loss", loss, epoch)
        writer.close()


def to_wandb(records: Sequence[RunRecord], folder: Path) -> None:
    """A run of W&B each, its local files in `folder`; the project and the mode are wandb's own settings."""
    try:
        import wandb
    except ImportError as error:
        raise missing_extra("Weights & Biases", "wandb", "wandb") from error
    folder.mkdir(parents=True, exist_ok=True)
    for record, name in _named(records):
        with wandb.init(name=name, group=record.key.suite, config=configuration(record), dir=str(folder)) as run:
            for epoch, loss in _losses(record):
                run.log({"loss": loss}, step=epoch)
            run.summary.update(metrics(record))


def to_mlflow(records: Sequence[RunRecord], folder: Path) -> None:
    """A run of MLflow each in the experiment named after its suite, stored in `folder`."""
    try:
        import mlflow
    except ImportError as error:
        raise missing_extra("MLflow", "mlflow", "mlflow") from error
    mlflow.set_tracking_uri(folder.resolve().as_uri())
    for record, name in _named(records):
        mlflow.set_experiment(record.key.suite)
        with mlflow.start_run(run_name=name):
            mlflow.log_dict(configuration(record), "configuration.json")
            mlflow.log_params(
                {k: str(v)[:500] for k, v in configuration(record).items() if not isinstance(v, dict | list)}
            )
            mlflow.log_metrics({title.replace("%", "percent"): value for title, value in metrics(record).items()})
            for epoch, loss in _losses(record):
                mlflow.log_metric("loss", loss, step=epoch)


TRACKERS: Mapping[str, Callable[[Sequence[RunRecord], Path], None]] = {
    "tensorboard": to_tensorboard,
    "wandb": to_wandb,
    "mlflow": to_mlflow,
}


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


def _losses(record: RunRecord) -> Iterator[tuple[int, float]]:
    return ((i, loss) for i, loss in enumerate(record.epoch_losses, 1) if loss is not None and math.isfinite(loss))
