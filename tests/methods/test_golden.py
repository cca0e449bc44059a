"""What the golden checks refuse: files, keys and facts that nothing would read."""

import json

import pytest
from golden import parts, parts_of

SELECTION = {
    "case": "two-of-three",
    "similarity": {"values": [[0.9, 0.1, 0.5]]},
    "labels": [0],
    "top_ratio": 0.5,
    "max_top": 50,
    "n_top": 2,
    "reserve_mask_over_ranks": [1, 1, 0],
    "kept_classes": [0, 2],
    "relabelled": [0],
    "trap": True,
    "note": "",
}


@pytest.fixture
def failure():
    """The message of a file whose only part fails."""

    def of(**file):
        (part,) = (part for part in parts_of("some", file) if part.data is not SELECTION)
        with pytest.raises(AssertionError) as caught:
            part.run()
        return str(caught.value)

    return of


def test_a_folder_is_all_of_its_files(tmp_path):
    (tmp_path / "renamed.json").write_text(json.dumps({"method": "skip_tuning", "cases": [SELECTION]}))
    (tmp_path / "unheard_of.json").write_text(json.dumps({"method": "unheard of", "cases": [{"case": "A"}]}))
    assert [part.id for part in parts(tmp_path)] == ["renamed:two-of-three", "unheard_of:A"]


def test_a_file_that_no_check_knows_fails_by_its_name(failure):
    assert failure(method="unheard of", cases=[{"case": "A"}]).startswith(
        "some.json: no check knows the method 'unheard of'"
    )
    assert failure(tables=[1]).startswith("some.json: no check knows what it holds (tables)")
    assert failure(method="unheard of", gaussian_weights=[]).startswith("some.json: no check knows")


def test_a_whole_case_passes():
    (part,) = parts_of("some", {"method": "skip_tuning", "proves": "prose", "cases": [SELECTION]})
    part.run()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "two-of-three: no check looked at extra"),
        ({"similarity": {**SELECTION["similarity"], "shape": [1, 3]}}, "no check looked at similarity.shape.0"),
        ({"n_top": 3}, "two-of-three, n_top: expected 3, ours is 2"),
        ({"trap": 1}, "two-of-three, trap: expected 1, ours is True"),
        ({"max_top": 51}, "two-of-three, max_top: expected 51, ours is 50"),
        ({"kept_classes": [0]}, "two-of-three, kept_classes: expected [0], ours is [0, 2]"),
    ],
)
def test_a_changed_fact_is_named(failure, change, message):
    assert message in failure(method="skip_tuning", cases=[{**SELECTION, **change}])


def test_a_missing_fact_is_named(failure):
    for key in SELECTION.keys() - {"case", "note", "similarity"}:
        case = {name: value for name, value in SELECTION.items() if name != key}
        assert key in failure(method="skip_tuning", cases=[case])


def test_a_key_beside_the_cases_that_no_check_reads(failure):
    assert "beside" in failure(method="skip_tuning", cases=[SELECTION], beside=[1])
