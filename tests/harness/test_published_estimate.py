"""What the formula of the published memory columns takes from a method; its figures are held in tests/reports/test_published.py."""

import pytest

from harness import plugins


def test_the_kept_classes_expected_are_the_sum_of_their_probabilities():
    from methods.skip_tuning.model import reserve_probabilities, top_count

    card = plugins.load("method", "skip_tuning")()
    for classes in (2, 3, 5, 50, 98, 1000):
        expected = float(reserve_probabilities(classes, top_count(classes, card), card.decay).sum())
        assert card.expected_kept(classes) == pytest.approx(expected)
