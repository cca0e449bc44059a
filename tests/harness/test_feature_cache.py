"""Image features kept on disk: the same numbers, computed once, for any list of images."""

import json

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from harness.data.image_set import ImageSet
from harness.data.split_files import ImageFolder
from harness.suite import Item
from harness.training.feature_cache import FeatureCache
from harness.training.log import TrainingLog
from harness.training.reading import StagedImages

NAMES = [f"{i}.png" for i in range(5)]


def folder_of_images(folder):
    folder.mkdir()
    for i, name in enumerate(NAMES):
        Image.new("RGB", (32, 32), (40 * i, 200 - 30 * i, 10)).save(folder / name)
    return ImageFolder(folder)


def image_set(backbone, opened, names):
    return ImageSet([Item(name, 0, "thing") for name in names], opened, backbone.pixels, seed=1)


def test_features_are_the_towers_and_computed_once(tiny_backbone, tmp_path, monkeypatch):
    backbone, opened = tiny_backbone(), folder_of_images(tmp_path / "images")

    def cache():
        return FeatureCache(tmp_path / "features", "things", opened.stamp, backbone, "fp32")

    images = image_set(backbone, opened, NAMES)
    expected = StagedImages(backbone, images, "fp32", TrainingLog()).read("features")
    first = cache().read(image_set(backbone, opened, NAMES[:2]))
    assert (first.reused, first.reused_seconds) == (0, 0)
    torch.testing.assert_close(first.values, expected[:2], rtol=1e-5, atol=1e-6)
    whole = cache().read(images)
    assert whole.reused == 2
    assert whole.reused_seconds > 0
    torch.testing.assert_close(whole.values, expected, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(backbone.image, "encode", None)  # whatever asks the tower now fails
    backwards = cache().read(image_set(backbone, opened, NAMES[::-1]))
    assert backwards.reused == 5
    assert torch.equal(backwards.values, whole.values.flip(0))


def test_a_changed_image_is_computed_anew(tiny_backbone, tmp_path):
    backbone, opened = tiny_backbone(), folder_of_images(tmp_path / "images")
    images = image_set(backbone, opened, NAMES)
    before = FeatureCache(tmp_path / "features", "things", opened.stamp, backbone, "fp32").read(images).values
    Image.new("RGB", (32, 32), (255, 0, 255)).save(tmp_path / "images" / NAMES[3])
    after = FeatureCache(tmp_path / "features", "things", opened.stamp, backbone, "fp32").read(images)
    assert after.reused == 4
    same = [torch.equal(a, b) for a, b in zip(after.values, before, strict=True)]
    assert same == [True, True, True, False, True]


def test_runs_at_the_same_time_lose_no_feature_of_each_other(tiny_backbone, tmp_path, monkeypatch):
    backbone, opened = tiny_backbone(), folder_of_images(tmp_path / "images")

    def cache():
        return FeatureCache(tmp_path / "features", "things", opened.stamp, backbone, "fp32")

    first, load = cache(), FeatureCache._load

    def load_and_be_overtaken(self):
        loaded = load(self)
        monkeypatch.setattr(FeatureCache, "_load", load)
        cache().read(image_set(backbone, opened, NAMES[2:]))
        return loaded

    monkeypatch.setattr(FeatureCache, "_load", load_and_be_overtaken)
    assert first.read(image_set(backbone, opened, NAMES[:3])).reused == 0
    monkeypatch.setattr(backbone.image, "encode", None)  # whatever asks the tower now fails
    assert cache().read(image_set(backbone, opened, NAMES)).reused == 5


def test_other_weights_another_dataset_and_a_broken_file_share_nothing(tiny_backbone, tmp_path):
    backbone, opened = tiny_backbone(), folder_of_images(tmp_path / "images")
    images = image_set(backbone, opened, NAMES)
    FeatureCache(tmp_path / "features", "things", opened.stamp, backbone, "fp32").read(images)
    other = tiny_backbone()
    other.weights_sha256 = "of others"
    assert FeatureCache(tmp_path / "features", "things", opened.stamp, other, "fp32").read(images).reused == 0
    assert FeatureCache(tmp_path / "features", "others", opened.stamp, backbone, "fp32").read(images).reused == 0
    for file in (tmp_path / "features").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    assert FeatureCache(tmp_path / "features", "things", opened.stamp, backbone, "fp32").read(images).reused == 0


@pytest.mark.parametrize(
    ("images", "change"),
    [
        (NAMES, lambda features, seconds: (features.index_fill(0, torch.tensor([2]), torch.nan), seconds)),
        (NAMES, lambda features, seconds: (features[:, :-1].contiguous(), seconds)),
        (NAMES, lambda features, seconds: (features[:-1], seconds)),
        (NAMES, lambda features, seconds: (features, seconds - 1e6)),
        (NAMES, lambda features, seconds: (features.int(), seconds)),
        (dict.fromkeys(NAMES, 1), lambda features, seconds: (features, seconds)),
        (5, lambda features, seconds: (features, seconds)),
    ],
)
def test_features_that_cannot_be_are_computed_anew(tiny_backbone, tmp_path, images, change):
    backbone, opened = tiny_backbone(), folder_of_images(tmp_path / "images")

    def read():
        cache = FeatureCache(tmp_path / "features", "things", opened.stamp, backbone, "fp32")
        return cache.read(image_set(backbone, opened, NAMES))

    expected = read().values
    (path,) = (tmp_path / "features").iterdir()
    with safe_open(path, "pt") as file:
        features, seconds = change(file.get_tensor("features"), file.get_tensor("seconds"))
        stamped = json.loads(file.metadata()["images"])
    kept = stamped if images is NAMES else 5 if images == 5 else dict.fromkeys(stamped, 1)
    save_file({"features": features, "seconds": seconds}, path, metadata={"images": json.dumps(kept)})
    found = read()
    assert found.reused == 0
    assert torch.equal(found.values, expected)


def test_a_cache_that_cannot_be_written_costs_no_result(tiny_backbone, tmp_path):

    backbone, opened = tiny_backbone(), folder_of_images(tmp_path / "images")
    (tmp_path / "features").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="can't be kept"):
        found = FeatureCache(tmp_path / "features", "things", opened.stamp, backbone, "fp32").read(
            image_set(backbone, opened, NAMES)
        )
    assert found.values.shape == (5, 32)
