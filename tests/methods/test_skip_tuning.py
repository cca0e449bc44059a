"""How Skip Tuning makes its batches, where the authors' code stops or draws at random."""

import itertools
import random

from methods.skip_tuning.model import epoch_batches, one_class_batches


def test_one_class_batches_keep_to_one_class():
    labels = [0] * 9 + [1] * 4 + [2] * 6
    for batch in one_class_batches(labels, 4, random.Random(1)):
        assert len({labels[i] for i in batch}) == 1


def test_degenerate_sets_train_on_every_class():
    """The authors' code stops in these cases; ours falls back to shuffled batches."""
    assert sorted(itertools.chain(*epoch_batches([0, 1, 1], 4, random.Random(1)))) == [0, 1, 2]
    labels = [0] * 3 + [1] * 8
    batches = list(epoch_batches(labels, 4, random.Random(1)))
    assert len(batches) == 2
    assert {labels[i] for batch in batches for i in batch} == {0, 1}
