"""Coarse maps shown as label maps look as the refiner makes them look."""

import numpy as np
import pytest
import torch

from spatialprop.data import VOID, ShowAsLabels
from spatialprop.data.as_labels import softened
from spatialprop.refiner.inputs import to_coarse
from spatialprop.refiner.maps import CoarseMaps


@pytest.fixture
def coarse():
    scores = np.random.default_rng(0).normal(size=(3, 24, 30))
    return (np.exp(scores) / np.exp(scores).sum(axis=0)).astype(np.float32)


@pytest.fixture
def label():
    label = np.ones((24, 30), np.uint8)
    label[:, 20:] = 2
    label[5:8, 5:8] = VOID
    return label


def test_labels_are_softened_as_the_refiner_softens_them(label):
    label[label == VOID] = 0
    given = to_coarse(label, False, 3, torch.device("cpu"))
    ((_, expected),) = CoarseMaps(given, label.shape, label.shape, restrict=True).chunks()
    np.testing.assert_allclose(softened(label, 3), expected[0].numpy(), atol=1e-5)


def test_the_truth_is_shown_and_void_is_as_the_coarse_map_has_it(coarse, label):
    shown = ShowAsLabels(ragged=0, truth=1)(coarse, label, np.random.default_rng(0))
    assert (shown.argmax(axis=0) == np.where(label == VOID, coarse.argmax(axis=0), label)).all()


def test_the_most_likely_classes_are_shown(coarse, label):
    shown = ShowAsLabels(ragged=1, truth=0)(coarse, label, np.random.default_rng(0))
    assert (shown.argmax(axis=0) == coarse.argmax(axis=0)).all()
    np.testing.assert_allclose(shown.sum(axis=0), 1, atol=1e-5)
    assert shown.max(axis=0).min() >= 0.5


def test_so_many_patches_are_shown_as_asked_for(coarse, label):
    show = ShowAsLabels(ragged=0.3, truth=0.2)
    kinds = [show(coarse, label, np.random.default_rng(seed)) for seed in range(300)]
    as_they_were = np.mean([shown is coarse for shown in kinds])
    true = np.mean([(shown.argmax(axis=0) == label)[label != VOID].all() for shown in kinds])
    assert 0.4 < as_they_were < 0.6
    assert 0.13 < true < 0.27


def test_impossible_shares_are_refused():
    with pytest.raises(ValueError, match=r"from 0 to 1 together; got ragged = 0.8, truth = 0.3"):
        ShowAsLabels(ragged=0.8, truth=0.3)
