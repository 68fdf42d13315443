"""`AffinityScores` against a reading of its definition in numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spatialprop.metrics import AffinityScores
from tests.metrics.maps import DEVICES

BIN = 32 / 4096  # of logits
NOWHERE = torch.zeros(1, 2, 2, dtype=torch.bool)


def make_pairs(seed, dilations=2, batch=2, height=5, width=6, different=0.3, ignored=0.1, each=8):
    """Truth, and logits in the middle of bins that say a little more than nothing about it."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, dilations * each, height, width)
    pairs = torch.where(torch.rand(shape, generator=generator) < different, 0, 1)
    pairs[torch.rand(shape, generator=generator) < ignored] = -1
    logits = pairs + 2 * torch.randn(shape, generator=generator).round(decimals=1)  # some alike
    logits = ((logits / BIN).floor() + 0.5) * BIN
    near = torch.rand(batch, height, width, generator=generator) < 0.4
    return logits.sigmoid(), pairs.to(torch.int8), near


def average_precision(wanted, ranking):
    """Precision at each threshold, times the growth of recall there."""
    total, found, average = wanted.sum(), 0, 0.0
    for threshold in sorted(set(ranking.tolist()), reverse=True):
        chosen = ranking >= threshold
        hits = (wanted & chosen).sum()
        average += hits / chosen.sum() * (hits - found) / total
        found = hits
    return average


def expected(affinity, pairs, near, dilations):
    """All scores, pair by pair."""
    results = {}
    each = pairs.shape[1] // len(dilations)
    for place, dilation in enumerate(dilations):
        group = slice(place * each, (place + 1) * each)
        truth, share = pairs[:, group], affinity[:, group]
        in_band = np.repeat(near[:, None], each, axis=1)
        results[str(dilation)] = {
            where: {
                "same": one_question(share[mask] >= 0.5, truth[mask] == 1, share[mask]),
                "different": one_question(share[mask] < 0.5, truth[mask] == 0, -share[mask]),
            }
            for where, mask in (("all", truth >= 0), ("near_border", (truth >= 0) & in_band))
        }
    return results


def one_question(said, wanted, ranking):
    hits = (said & wanted).sum()
    return {
        "share": wanted.mean() if wanted.size else None,
        "precision": hits / said.sum() if said.any() else None,
        "recall": hits / wanted.sum() if wanted.any() else None,
        "F1": 2 * hits / (said.sum() + wanted.sum()) if said.any() or wanted.any() else None,
        "average_precision": average_precision(wanted, ranking.round(6)) if wanted.any() else None,
    }


def compare(found, wanted):
    for dilation, places in wanted.items():
        for where, questions in places.items():
            for question, scores in questions.items():
                assert found[dilation][where][question] == pytest.approx(scores, abs=1e-9), (dilation, where, question)


@given(
    seed=st.integers(0, 10**6),
    size=st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
    different=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    ignored=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_equals_the_definition(seed, size, different, ignored):
    affinity, pairs, near = make_pairs(seed, 2, *size, different=different, ignored=ignored)
    scores = AffinityScores((1, 4))
    scores.update(affinity, pairs, near)
    compare(scores.compute(), expected(affinity.double().numpy(), pairs.numpy(), near.numpy(), (1, 4)))


def test_bins_are_fine_enough():
    """Without logits in the middle of bins, average precision is off by next to nothing, the rest by nothing."""
    _, pairs, near = make_pairs(0, 1, height=30, width=30)
    affinity = (pairs + 1.5 * torch.randn(pairs.shape, generator=torch.Generator().manual_seed(1))).sigmoid()
    scores = AffinityScores((1,))
    scores.update(affinity, pairs, near)
    exact = expected(affinity.double().numpy(), pairs.numpy(), near.numpy(), (1,))["1"]["all"]
    for question, found in scores.compute()["1"]["all"].items():
        assert found.pop("average_precision") == pytest.approx(exact[question].pop("average_precision"), abs=1e-3)
        assert found == pytest.approx(exact[question])


def test_half_is_said_to_be_the_same():
    scores = AffinityScores((1,))
    scores.update(torch.full((1, 8, 2, 2), 0.5), torch.ones(1, 8, 2, 2, dtype=torch.int8), NOWHERE)
    assert scores.compute()["1"]["all"]["same"]["recall"] == 1


def test_certainty_is_no_trouble():
    pairs = torch.tensor([1, 1, 0, 0]).repeat(2).reshape(1, 8, 1, 1)
    scores = AffinityScores((1,))
    scores.update(pairs.float(), pairs, torch.tensor([[[True]]]))
    assert scores.compute()["1"]["all"]["different"] == {
        "share": 0.5, "precision": 1.0, "recall": 1.0, "F1": 1.0, "average_precision": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_counts_as_its_images_one_by_one(device):
    affinity, pairs, near = (part.to(device) for part in make_pairs(1, batch=3))
    whole, parts = AffinityScores((1, 2)).to(device), AffinityScores((1, 2)).to(device)
    whole.update(affinity, pairs, near)
    for image in range(3):
        parts.update(affinity[image : image + 1], pairs[image : image + 1], near[image : image + 1])
    assert parts.compute() == whole.compute()
    parts.reset()
    assert not parts.counts.any()


@pytest.mark.parametrize(
    ("affinity", "pairs", "near", "told"),
    [
        (torch.rand(1, 8, 2, 2), torch.ones(1, 16, 2, 2), NOWHERE, r"got \(1, 8, 2, 2\) and \(1, 16, 2, 2\)"),
        (torch.rand(1, 9, 2, 2), torch.ones(1, 9, 2, 2), NOWHERE, "a multiple of the 2 dilations"),
        (torch.rand(1, 16, 2, 2) + 1, torch.ones(1, 16, 2, 2), NOWHERE, "use .sigmoid"),
        (torch.rand(1, 16, 2, 2), torch.ones(1, 16, 2, 2), NOWHERE[..., :1], r"got torch.bool, \(1, 2, 1\)"),
        (torch.rand(1, 16, 2, 2), torch.ones(1, 16, 2, 2), NOWHERE.int(), "must be a mask"),
    ],
)
def test_what_does_not_fit_is_refused(affinity, pairs, near, told):
    with pytest.raises(ValueError, match=told):
        AffinityScores((1, 2)).update(affinity, pairs, near)
