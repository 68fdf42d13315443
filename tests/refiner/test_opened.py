"""An opened image gives what the refiner gives, from gates that are computed once."""

import numpy as np
import pytest
import torch

from spatialprop import Refiner
from spatialprop.errors import InputError
from spatialprop.refiner import DOUBT
from tests.refiner.networks import each_kind, photograph, probabilities, trusting, twice

IMAGE = photograph(33, 26)
SHARES = probabilities(4, 33, 26)
LABELS = SHARES.argmax(axis=0).astype(np.uint8) * 3


@pytest.fixture(scope="module", params=["trusting", "by gates", "by gates and hints"])
def refiner(request):
    return Refiner(each_kind()[request.param])


@pytest.fixture
def counted(refiner, monkeypatch):
    """How often guidance has been computed."""
    looks = []
    kind = type(refiner.network)
    look = kind.look
    monkeypatch.setattr(kind, "look", lambda *given: looks.append(1) or look(*given))
    return looks


@pytest.mark.parametrize("coarse", [SHARES, LABELS, torch.from_numpy(SHARES)], ids=["shares", "labels", "tensor"])
@pytest.mark.parametrize("options", [{}, {"restrict": False}, {"rough": 4}], ids=str)
def test_says_what_the_refiner_says(refiner, counted, coarse, options):
    if coarse is not LABELS and "rough" in options:
        pytest.skip("probabilities are not rough")
    opened = refiner.open(IMAGE, coarse, **options)
    assert not counted, "nothing is computed before it is asked for"
    labels, shares, affinity = opened.labels, opened.probabilities, opened.affinity((5, 9))
    assert type(labels) is type(shares) is type(affinity) is type(coarse)
    assert len(counted) == 1
    np.testing.assert_array_equal(labels, refiner(IMAGE, coarse, **options))
    np.testing.assert_array_equal(shares, refiner.probabilities(IMAGE, coarse, **options))
    if not options:
        np.testing.assert_array_equal(affinity, refiner.affinity(IMAGE, coarse, (5, 9)))
    assert opened.labels is not None
    believed = coarse is LABELS and "rough" not in options and not refiner.network.judges_labels
    assert len(counted) == 1 + (0 if believed else 2) + (not options), "labels that are believed need no look"


def test_another_map_of_the_same_image(refiner, counted):
    opened = refiner.open(IMAGE, SHARES)
    before, other, shares = opened.labels, np.roll(LABELS, 4, axis=0), np.roll(SHARES, 4, axis=1)
    np.testing.assert_array_equal(opened.mend(shares), refiner(IMAGE, shares))
    assert len(counted) == 3, "guidance may depend on the coarse map"
    found = opened.mend(other)
    np.testing.assert_array_equal(found, refiner(IMAGE, other))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(opened.labels, before)


def test_the_classes_that_are_present(refiner):
    labels, shares = refiner.open(IMAGE, LABELS).present
    assert labels.tolist() == [0, 3, 6, 9]
    np.testing.assert_allclose(shares, refiner.probabilities(IMAGE, LABELS)[labels], atol=1e-6)


def test_labels_after_probabilities_are_the_most_likely_of_them(refiner):
    opened = refiner.open(IMAGE, SHARES)
    assert (opened.probabilities.argmax(axis=0) == opened.labels).mean() > 0.999
    by_present = refiner.open(IMAGE, LABELS)
    labels, shares = by_present.present
    assert (labels[shares.argmax(axis=0)] == by_present.labels).mean() > 0.999


def test_a_batch_has_labels_and_no_affinity(refiner):
    images = torch.stack([torch.from_numpy(photograph(33, 26, seed)).permute(2, 0, 1) for seed in (0, 1)])
    opened = refiner.open(images, torch.from_numpy(np.stack([LABELS, LABELS])))
    assert opened.labels.shape == (2, 33, 26)
    for ask in (lambda: opened.affinity((0, 0)), lambda: opened.present):
        with pytest.raises(InputError, match="belongs to one image; got a batch of 2"):
            ask()


def test_another_map_of_another_kind_has_defaults_of_its_own(refiner):
    opened = refiner.open(IMAGE, LABELS, rough=4, classes=10, restrict=False)
    np.testing.assert_array_equal(opened.mend(SHARES), refiner(IMAGE, SHARES, restrict=False))
    other = np.roll(LABELS, 4, axis=0)
    np.testing.assert_array_equal(opened.mend(other), refiner(IMAGE, other, rough=4, restrict=False))


def test_nothing_depends_on_what_is_not_known(refiner):
    shares = SHARES.copy()
    shares[:, 8:20, 6:18] = 0
    opened = refiner.open(IMAGE, shares)
    affinity = opened.affinity((14, 12))
    assert (affinity[8:20, 6:18] == 0).all()
    assert np.abs(affinity).max() > 1e-3
    everything = refiner.open(IMAGE, SHARES).affinity((14, 12))
    assert np.abs(everything[8:20, 6:18]).max() > 1e-3


def test_a_map_that_says_nothing_is_refused_in_a_batch_too(refiner):
    image, shares = (torch.from_numpy(one) for one in (IMAGE.transpose(2, 0, 1).copy(), SHARES))
    with pytest.raises(InputError, match="the coarse map of image 1 is 0 everywhere"):
        refiner(torch.stack([image, image]), torch.stack([shares, 0 * shares]))


def stripes(height, width, period):
    return np.repeat(np.arange(width)[None] // period % 3, height, axis=0)


@pytest.mark.parametrize("network", [trusting(), twice()], ids=["trusting", "twice"])
def test_labels_that_are_far_off_are_doubted(network, monkeypatch):
    image, labels = photograph(64, 96), stripes(64, 96, 32)
    refiner = Refiner(network)
    monkeypatch.setattr("spatialprop.refiner.opened.FAR_OFF", 1e9)
    believed = refiner(image, labels)
    border = 2 * 64  # two borders of 64 pixels
    off = (believed != labels).sum() / border
    assert off > 0
    doubted = refiner(image, labels, rough=DOUBT)
    assert (doubted != believed).any()
    for most, expected in ((0.99 * off, doubted), (1.01 * off, believed)):
        monkeypatch.setattr("spatialprop.refiner.opened.FAR_OFF", most)
        opened = refiner.open(image, labels)
        np.testing.assert_array_equal(opened.labels, expected)
        assert (opened.probabilities.argmax(axis=0) == expected).mean() > 0.999
        maps = np.eye(3, dtype=np.float32)[labels].transpose(2, 0, 1)
        np.testing.assert_array_equal(refiner(image, maps), expected)  # the same map in another form
        np.testing.assert_array_equal(refiner(image, labels, rough=0), labels)


def test_labels_that_nothing_changes_are_not_doubted(monkeypatch):
    monkeypatch.setattr("spatialprop.refiner.opened.FAR_OFF", 0)
    network = trusting(std=0.01)
    image, labels = photograph(64, 96), np.ones((64, 96), np.uint8)
    np.testing.assert_array_equal(Refiner(network)(image, labels), labels)


def test_a_second_network_looks_alike_at_labels_that_are_believed(monkeypatch):
    monkeypatch.setattr("spatialprop.refiner.opened.FAR_OFF", 1e9)
    refiner = Refiner(twice())
    image, labels = photograph(40, 48), stripes(40, 48, 16)
    believed, judged = (refiner.open(image, labels, rough=rough) for rough in (0, "auto"))
    for one, other in zip(believed._each[0]._guidance.tensors(), judged._each[0]._guidance.tensors(), strict=True):
        torch.testing.assert_close(one, other)
