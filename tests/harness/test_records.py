"""Records: a round trip, and a schema that says what is wrong with a file."""

import dataclasses
import hashlib
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import DataError
from harness.plan import Request, plan
from harness.records import NewerRecordError, RunRecord, from_json, json_schema, key_json, to_json

ROOT = Path(__file__).parents[2]
EARLIER = Path(__file__).with_name("record_0_1.json")


def changed(record, **fields):
    return dataclasses.replace(record, **fields)


def test_a_round_trip_keeps_everything(record):
    data = to_json(record)
    again = from_json(data, "here")
    assert again == record
    assert to_json(again) == data
    assert data.endswith(b"}\n")


def test_names_that_are_not_utf_8_lose_no_record(record):
    odd = changed(record, warnings=("in caf\udce9.png",), missing={"a\udce9": "b"})
    again = from_json(to_json(odd), "here")
    assert again == changed(record, warnings=("in caf\\udce9.png",), missing={"a\\udce9": "b"})


def test_a_list_of_numbers_stands_on_one_line_and_a_list_of_words_does_not(record):
    test = dataclasses.replace(
        record.accuracy["demo-digits/base"],
        accuracy_percent=0,
        correct=0,
        images=2,
        classes=2,
        confusion=((0, 1, 2),),
        class_names=("a [\n1\n]", "b"),
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
        (("schema_version",), 0, "schema_version: Input should be 1"),
        (("load_seconds",), 1e11, "load_seconds: Input should be less than"),
        (("total_seconds",), 1e308, "total_seconds: Value error, no measure is below"),
        (("windows", "train", "seconds"), 5e-324, "no measure is below 1e-100"),
        (("step_seconds",), [0.0, 0.1, 5e-324], "step_seconds: Value error, no measure is below 1e-100"),
        (("step_seconds",), [0.1, -1.0], "step_seconds.1: Input should be greater than or equal to 0"),
        (("accuracy", "demo-digits/base", "classes"), 10**9, "classes: Input should be less than or equal to 1048576"),
        (("train_image_count",), 10**400, "train_image_count: "),
        (("accuracy", "demo-digits/base", "correct"), 0, "accuracy.demo-digits/base: 0 of "),
        (("accuracy", "demo-digits/base", "correct"), 10**6, "images can't be correct"),
        (("accuracy", "demo-digits/base", "class_names"), ["a"], "accuracy.demo-digits/base: 1 names of "),
        (("accuracy", "demo-digits/base", "confusion"), [[10**6, 0, 1]], "the confusion has a class beyond the "),
        (("accuracy", "demo-digits/base", "confusion"), [[0, 0, 1]], "and by the confusion 1 of 1"),
        (("accuracy", "birds"), {"accuracy_percent": 0, "correct": 0, "images": 0, "classes": 2}, "'birds' is no test"),
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


def test_a_name_that_stands_twice_is_told(record):
    data = to_json(record).replace(b'\n "status": "ok"', b'\n "status": "failed",\n "status": "ok"')
    with pytest.raises(DataError, match=r"a\.json is no run record of schema 1: 'status' stands twice in one object"):
        from_json(data, "a.json")


@pytest.mark.parametrize("twice", [b'"a1": "", "a1": ""', b'"a1": "", "\\u00611": ""', b'"a1" : "", "a1"\n: ""'])
def test_a_name_that_stands_twice_is_told_whatever_was_read_before(record, twice):
    before, missing, after = to_json(record).partition(b'"missing": {')
    texts = [
        before + missing + names + after[after.index(b"}") :] for names in (b'"a1": "", "a2": ""', b'"a1": ""', twice)
    ]
    for once in texts[:2]:
        from_json(once, "a.json")
    with pytest.raises(DataError, match="'a1' stands twice in one object"):
        from_json(texts[2], "a.json")


def test_a_record_of_a_later_version_is_told_from_a_broken_one(record):
    document = json.loads(to_json(record)) | {"schema_version": 2, "news": []}
    with pytest.raises(
        NewerRecordError, match=r"schema 2, written by a later AdaptBench: this one reads 1(?s:.*)Update"
    ):
        from_json(json.dumps(document).encode(), "a.json")


@pytest.mark.parametrize("depth", [300, 100_000])
def test_settings_without_end_are_a_data_error(record, depth):
    deep = b'"settings": ' + b"[" * depth + b"]" * depth
    with pytest.raises(DataError, match="recursion limit"):
        from_json(to_json(record).replace(b'"settings": {}', deep, 1), "a.json")


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

    counts = {
        "correct",
        "images",
        "classes",
        "class_names",
        "confusion",
        "contended",
        "answers_zero_shot",
        "throttle_reasons",
    }
    units = ("seconds", "_bytes", "_percent", "_joules", "_celsius", "_megahertz")
    names = {f.name for kind in (TestRecord, WindowRecord) for f in dataclasses.fields(kind)} - counts
    assert all(name.endswith(units) for name in names), names


def test_the_key_of_a_planned_run_survives_a_file(record):
    (run,) = plan(Request(suite="base2new", methods=["coop"], datasets=["demo-digits"], seeds=[2]), "demo")
    again = from_json(to_json(changed(record, key=run.key)), "here")
    assert again.key == run.key
    assert key_json(again.key) == key_json(run.key)
    assert isinstance(again, RunRecord)


def described():
    """Every field of every kind of object in a record, with what the schema says of it."""
    schema = json_schema()
    for name, kind in {"RunRecord": schema, **schema["$defs"]}.items():
        for field, of in kind["properties"].items():
            yield f"{name}.{field}", of.get("description", "")


def test_every_field_of_a_record_says_what_it_is():
    texts = dict(described())
    assert {"RunRecord.status", "WindowRecord.energy_joules", "RunKey.seed", "Recipe.momentum"} <= texts.keys()
    assert [field for field, text in texts.items() if not text.endswith(".")] == []


def test_the_schema_is_published():
    words = [sys.executable, "-W", "error", "-m", "harness.records"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json_schema()


def test_the_schema_knows_the_fields_of_a_file_and_no_others(record):
    document, schema = json.loads(to_json(record)), json_schema()
    assert document.keys() == schema["properties"].keys()
    assert document["key"].keys() == schema["$defs"]["RunKey"]["properties"].keys()
    assert schema["additionalProperties"] is False


def test_the_page_on_records_is_the_schemas():
    script = runpy.run_path(str(ROOT / "docs" / "records_page.py"))
    assert script["PAGE"].read_text() == script["page"](), "python docs/records_page.py"


ADDED_SINCE = (
    b',\n  "concurrent_runs": null',
    b'\n "traceback": null,',
    b',\n  "device": null,\n  "source_sha256": null',
    b'\n   "stopped_seconds": null,',
    b'\n   "throttle_reasons": null,',
    b'\n "saved_bytes": null,',
    b'\n "peaks_of_seed": null,',
)


def test_a_file_of_an_earlier_version_is_written_again_byte_by_byte():
    data = EARLIER.read_bytes()
    earlier = from_json(data, str(EARLIER))
    written = to_json(earlier)
    for field in ADDED_SINCE:
        written = written.replace(field, b"")
    assert written == data
    assert hashlib.sha256(key_json(earlier.key).encode()).hexdigest()[:10] == "c35936b7f6", "suites no longer find it"
