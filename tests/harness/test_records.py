"""Records: a round trip, and a schema that says what is wrong with a file."""

import dataclasses
import json

import pytest

from harness.errors import DataError
from harness.plan import Request, plan
from harness.records import RunRecord, from_json, key_json, to_json


def changed(record, **fields):
    return dataclasses.replace(record, **fields)


def test_a_round_trip_keeps_everything(record):
    data = to_json(record)
    again = from_json(data, "here")
    assert again == record
    assert to_json(again) == data
    assert data.endswith(b"}\n")


def test_a_list_of_numbers_stands_on_one_line_and_a_list_of_words_does_not(record):
    test = dataclasses.replace(
        record.accuracy["demo-digits/base"], confusion=((0, 1, 2),), class_names=("a [\n1\n]", "b")
    )
    text = to_json(changed(record, accuracy={"demo-digits/base": test})).decode()
    assert '"confusion": [\n    [0, 1, 2]\n   ]' in text
    assert '"step_seconds": [0.1, 0.2]' in text
    assert '"class_names": [\n    "a [\\n1\\n]",\n' in text
    assert from_json(text.encode(), "here").accuracy["demo-digits/base"] == test


def test_a_record_without_the_later_fields_reads_and_has_the_key_it_had(record):
    document = json.loads(to_json(record))
    later = {"validation", "analysis", "test_images_seen", "split_rule"}
    assert later <= set(document)
    for field in later:
        del document[field]
    for field in ("steps", "template"):
        del document["key"][field]
    for field in ("class_names", "confusion"):
        del document["accuracy"]["demo-digits/base"][field]
    again = from_json(json.dumps(document).encode(), "here")
    assert again == record
    assert "steps" not in key_json(again.key)
    assert "pretrained" in key_json(again.key)
    assert '"steps":3' in key_json(dataclasses.replace(record.key, steps=3))


def test_numbers_are_not_rounded(record):
    exact = changed(record, epoch_losses=(0.1 + 0.2, 1 / 3, None), total_seconds=1e-7 / 3)
    again = from_json(to_json(exact), "here")
    assert again.epoch_losses == exact.epoch_losses
    assert again.total_seconds == exact.total_seconds


def test_equal_keys_have_equal_texts_whatever_the_order_of_their_settings(record):
    key = record.key
    turned = dataclasses.replace(key, settings=dict(reversed({**key.settings, "a": 1}.items())))
    straight = dataclasses.replace(key, settings={"a": 1, **key.settings})
    assert key_json(turned) == key_json(straight)
    assert key_json(turned) != key_json(key)


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("schema_version",), 2, "schema_version: Input should be 1"),
        (("status",), "fine", "status: Input should be 'ok'"),
        (("key", "seed"), 0, "key.seed: Input should be greater than or equal to 1"),
        (("key", "precision"), "fp8", "key.precision: Input should be 'fp32'"),
        (("key", "recipe", "batch_size"), 0, "key.recipe.batch_size"),
        (("windows", "train", "seconds"), -1, "windows.train.seconds"),
        (("windows", "train", "peak_rss_bytes"), 1.5, "windows.train.peak_rss_bytes"),
        (("windows", "lunch"), {"seconds": 1}, "windows.lunch"),
        (("accuracy", "demo-digits/base", "accuracy_percent"), 101, "accuracy.demo-digits/base.accuracy_percent"),
        (("total_seconds",), None, "total_seconds: Input should be a valid number"),
        (("surprise",), 1, "surprise: Unexpected keyword argument"),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else None,
)
def test_a_wrong_field_is_named_with_advice(record, path, value, complaint):
    document = json.loads(to_json(record))
    place = document
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(DataError) as caught:
        from_json(json.dumps(document).encode(), "results/a.json")
    assert caught.value.what.startswith("results/a.json is no run record of schema 1: ")
    assert complaint in caught.value.what
    assert "Delete it to have the run done again" in caught.value.advice


def test_a_missing_field_is_named(record):
    document = json.loads(to_json(record))
    del document["environment"]
    with pytest.raises(DataError, match="environment: Field required"):
        from_json(json.dumps(document).encode(), "a.json")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema_version": 1'])
def test_what_is_no_record_at_all_is_a_data_error(data):
    with pytest.raises(DataError, match=r"a\.json is no run record of schema 1: the file: "):
        from_json(data, "a.json")


def test_every_cut_of_a_record_is_refused(record):
    data = to_json(record)
    for end in range(0, len(data.rstrip()), 97):
        with pytest.raises(DataError):
            from_json(data[:end], "a.json")


def test_no_record_holds_infinity_or_nan(record):
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite"):
            changed(record, total_seconds=value)


def test_records_and_keys_are_frozen(record):
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.status = "failed"
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.key.seed = 2


def test_names_of_measures_end_in_their_units():
    """The unit is told by the name; a bare number is a count."""
    from harness.records import TestRecord, WindowRecord

    counts = {"correct", "images", "classes", "class_names", "confusion", "contended", "answers_zero_shot"}
    units = ("seconds", "_bytes", "_percent", "_joules", "_celsius", "_megahertz")
    names = {f.name for kind in (TestRecord, WindowRecord) for f in dataclasses.fields(kind)} - counts
    assert all(name.endswith(units) for name in names), names


def test_the_key_of_a_planned_run_survives_a_file(record):
    (run,) = plan(Request(suite="base2new", methods=["coop"], datasets=["demo-digits"], seeds=[2]), "demo")
    again = from_json(to_json(changed(record, key=run.key)), "here")
    assert again.key == run.key
    assert key_json(again.key) == key_json(run.key)
    assert isinstance(again, RunRecord)
