"""What the harness does around the methods: reading images, planning, writing records, rendering reports."""

import pytest
from PIL import Image

from harness.meters.environment import describe
from harness.plan import Request, plan
from harness.records import RunRecord, TestRecord, WindowRecord
from harness.runs.store import Store
from harness.suite import Item

IMAGES = 32


@pytest.fixture
def photographs(tmp_path):
    """JPEG files of the size that datasets have: 500 x 375, a gradient each."""
    ramp = Image.linear_gradient("L").resize((500, 375))
    items = []
    for number in range(IMAGES):
        turned = ramp.rotate(11 * number)
        Image.merge("RGB", (ramp, turned, ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT))).save(
            tmp_path / f"{number}.jpg", quality=90
        )
        items.append(Item(f"{number}.jpg", number % 4, f"class {number % 4}"))
    return items, lambda key: Image.open(tmp_path / key).convert("RGB")


def test_image_loading(benchmark, photographs):
    """A batch of 32 photographs, decoded and augmented."""
    from harness.clip.backbone import Pixels
    from harness.data.image_set import ImageSet

    items, open_image = photographs
    pixels = Pixels(224, (0.5,) * 3, (0.25,) * 3, "bicubic")
    images = ImageSet(items, open_image, pixels, seed=1, augmentation="random-resized-crop-flip")
    ((_, batch),) = benchmark(lambda: list(images.in_order(IMAGES)))
    assert batch.shape == (IMAGES, 3, 224, 224)


def test_planning(benchmark):
    """Base-to-new of every method on the eleven published datasets, three seeds."""
    runs = benchmark(lambda: plan(Request(suite="base2new", methods=["all"]), "published"))
    assert len(runs) % (11 * 3) == 0


@pytest.fixture
def records():
    """Base-to-new of five methods, three datasets and three seeds, as it might have ended."""
    runs = plan(Request(suite="base2new"), "demo")
    environment = describe("cpu", 1)
    names = tuple(f"class {i}" for i in range(10))
    return [
        RunRecord(
            key=run.key,
            recipe_row=run.recipe_row,
            status="ok",
            started_at="2026-01-01T00:00:00+00:00",
            total_seconds=20.0,
            windows={
                "setup": WindowRecord(seconds=1.0),
                "train": WindowRecord(seconds=10.0 + number, peak_tensor_bytes=1 << 28, peak_rss_bytes=1 << 30),
                "test": WindowRecord(seconds=2.0),
            },
            accuracy={test: _score(40 + number % 50, names) for test in run.key.tests},
            epoch_losses=tuple(2.0 / epoch for epoch in range(1, 21)),
            step_seconds=tuple(0.01 + 1e-6 * step for step in range(400)),
            trainable_parameters=1000,
            environment=environment,
        )
        for number, run in enumerate(runs)
    ]


def _score(correct, names):
    wrong = 100 - correct
    return TestRecord(
        accuracy_percent=float(correct),
        correct=correct,
        images=100,
        classes=10,
        class_names=names,
        confusion=((0, 0, correct), (0, 1, wrong)),
    )


def test_record_writing(benchmark, records, tmp_path):
    store = Store(tmp_path)
    path = benchmark(store.write, records[0])
    assert store.find(records[0].key) == records[0]
    assert path.stat().st_size > 1000


def test_report_rendering(benchmark, records):
    """One page of 45 runs."""
    from reports.pages.page import page

    text = benchmark(page, records)
    assert text.count("demo-letters") > 10
