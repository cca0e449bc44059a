"""W&B and MLflow, where they are installed: real runs in local files, read back."""

import json
import struct

import pytest

from harness.errors import ConfigError
from reports.export.trackers import to_mlflow, to_wandb

pytestmark = pytest.mark.filterwarnings("default")  # theirs


@pytest.fixture
def runs(record):
    return [
        record("coop", base=80.123456789, epoch_losses=(2.0, None, 1.0)),
        record("coop", "folder:~/my flowers//x", seed=2, status="failed", reason="no memory"),
    ]


def test_mlflow_reads_what_was_written(runs, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    to_mlflow(runs[:1], tmp_path / "new")
    to_mlflow(runs[1:], tmp_path / "new")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("base2new")
    failed, fine = sorted(client.search_runs([experiment.experiment_id]), key=lambda run: run.info.status)
    assert (fine.info.status, failed.info.status) == ("FINISHED", "FAILED")
    assert fine.info.run_name.startswith("base2new/coop/digits-16shots-seed1-")
    assert fine.info.end_time - fine.info.start_time == 1000 * runs[0].total_seconds
    assert fine.data.metrics["accuracy_percent/digits/base"] == 80.123456789
    assert [(m.step, m.value) for m in client.get_metric_history(fine.info.run_id, "loss")] == [(1, 2.0), (3, 1.0)]
    assert fine.data.params["shots"] == "16"
    assert "pretrained" not in fine.data.params  # it is null
    assert failed.data.params["reason"] == "no memory"
    assert "accuracy_percent/folder:_/my flowers/x/base" in failed.data.metrics
    kept = json.loads(
        (tmp_path / "new" / "artifacts" / fine.info.run_id / "artifacts" / "configuration.json").read_text()
    )
    assert kept["recipe"]["epochs"] == 20


@pytest.fixture
def wandb(monkeypatch, tmp_path):
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "NETRC"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    module = pytest.importorskip("wandb")
    yield module
    module.teardown()  # else the next test has this one's environment


def messages(data):
    """The records of a W&B file: a head of seven bytes, then a log in LevelDB's format, blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    at, parts = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # no room for another head: padding
            at += 32768 - at % 32768
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def test_wandb_writes_runs_that_say_nothing_of_this_machine(wandb, runs, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    to_wandb(runs, tmp_path / "new")
    wandb.teardown()  # as at the end of a process: files are whole then
    written = [path.read_bytes() for path in (tmp_path / "new").rglob("*.wandb")]
    found = {}
    for data in written:
        kinds = {}
        for message in messages(data):
            kinds.setdefault(message.WhichOneof("record_type"), []).append(message)
        (start,) = kinds["run"]
        assert not kinds.keys() & {"environment", "stats", "files", "output_raw"}
        assert start.run.host == "0" * 12  # the digest in the record
        found[start.run.display_name.split("/")[2].split("-")[0]] = kinds
    fine, failed = found["digits"], found["folder_my_flowers_x"]
    summary = {u.key: u.value_json for message in fine["summary"] for u in message.summary.update}
    assert json.loads(summary["accuracy_percent/digits/base"]) == 80.123456789
    config = {u.key: json.loads(u.value_json) for u in fine["run"][0].run.config.update}
    assert (fine["run"][0].run.run_group, config["shots"], config["recipe"]["epochs"]) == ("base2new", 16, 20)
    history = [{i.key or i.nested_key[0]: json.loads(i.value_json) for i in m.history.item} for m in fine["history"]]
    assert [(line["_step"], line["loss"]) for line in history] == [(1, 2.0), (3, 1.0)]
    assert [run["exit"][0].exit.exit_code for run in (fine, failed)] == [0, 1]


def test_without_a_login_wandb_is_advice(wandb, runs, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(ConfigError, match="WANDB_MODE=offline"):
        to_wandb(runs, tmp_path)
