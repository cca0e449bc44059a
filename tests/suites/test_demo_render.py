"""The renderer: same seed same pixels, streams that never meet, and everything that can be named can be drawn."""

import numpy as np
import pytest
import torch

from suites.demo import corpus, glyphs, scenes, textures
from suites.demo.bank import Bank, bank_keys, make_bank, stream
from suites.demo.look import TEXTURES, Look
from suites.demo.objects import OBJECTS
from suites.demo.render import PIXELS, Canvas


@pytest.fixture(scope="module")
def bank() -> Bank:
    return corpus.corpus_bank()


def test_a_batch_is_a_function_of_its_number(bank: Bank) -> None:
    first, captions = corpus.batch(7, 32, bank)
    again, same = corpus.batch(7, 32, bank)
    other, different = corpus.batch(8, 32, bank)
    assert torch.equal(first, again)
    assert captions == same
    assert not torch.equal(first, other)
    assert captions != different
    assert (*first.shape, first.dtype) == (32, 3, PIXELS, PIXELS, torch.uint8)


def test_a_bank_is_the_same_whether_drawn_whole_or_in_part(bank: Bank) -> None:
    key = "object fish"
    part = make_bank("bank", (key,))
    assert torch.equal(part.masks[part.rows[key]], bank.masks[bank.rows[key]])


def test_streams_of_two_domains_never_meet() -> None:
    domains = ("bank", "corpus", "weights", "dataset bank", "dataset")
    assert len({int(stream(domain, 3).integers(2**62)) for domain in domains}) == len(domains)


def test_every_exemplar_has_ink_and_no_two_classes_share_one(bank: Bank) -> None:
    ink = bank.masks[:, 0].flatten(1).float().mean(1) / 255
    assert ink.min() > 0.01
    seen: dict[bytes, str] = {}
    for key in (k for k in bank_keys() if not k.startswith("scene")):
        for row in bank.rows[key]:
            assert seen.setdefault(bank.masks[row].numpy().tobytes(), key) == key


def test_every_object_glyph_and_scene_is_in_the_bank(bank: Bank) -> None:
    assert len(bank.rows) == len(OBJECTS) + 2 * 10 + 2 * len(glyphs.LETTERS) + len(scenes.SCENES)


def test_textures_stay_in_range_and_differ() -> None:
    fields = textures.fields(np.arange(len(TEXTURES)), np.random.default_rng(0), PIXELS)
    assert torch.equal(fields, fields.clamp(0, 1))
    assert (fields.flatten(1).std(1) > 0.05).all()


def test_an_object_lands_where_it_was_put(bank: Bank) -> None:
    """A black disc right of the middle darkens that side of white paper only."""
    look = Look(
        fills=(1, 0, 0, 0, 0), backgrounds=(1, 0, 0, 0, 0), paper=0, noise=(0, 0), grey=0, inverted=0, pixelated=0
    )
    canvas = Canvas(1, look, bank, np.random.default_rng(0))
    canvas.paper[:] = "white"
    canvas.place(0, "object circle", 0.5, 0.0, 0.3, 0.0, "black")
    picture = canvas.compose()[0].float().mean(0)
    assert picture[18:30, 32:40].mean() < 100 < picture[:, :20].min()


def test_captions_name_what_is_shown(bank: Bank) -> None:
    _, captions = corpus.batch(0, 192, bank)
    words = set(" ".join(captions).replace(".", "").split())
    assert {"photo", "a"} <= words
    assert sum(c in words for c in TEXTURES) >= 5
    assert all(c == c.lower() for c in captions)
