"""The weights that come along do what they are there for, on images that were not trained on."""

from statistics import fmean

import numpy as np
import pytest
import torch

from spatialprop import Refiner
from spatialprop.data import Example, SimulatedCoarse, SyntheticShapes
from spatialprop.metrics import MethodScores
from spatialprop.refiner.weights import PACKAGE, packaged

IMAGES = SyntheticShapes("test", 12, seed=7)
CLASSES = len(IMAGES.labels.classes)


@pytest.fixture(scope="module")
def light():
    return Refiner.load("light")


def scored(pairs):
    scores = MethodScores(CLASSES, radii=(3,))
    for found, label in pairs:
        scores.update(*(torch.from_numpy(labels.astype(np.int64))[None] for labels in (found, label)))
    return scores.compute()


def enlarged(coarse, size):
    return torch.nn.functional.interpolate(torch.from_numpy(coarse)[None].float(), size, mode="bilinear")[0]


def test_weights_are_small_and_every_one_has_a_card():
    assert "light" in packaged()
    for name in packaged():
        assert (PACKAGE / f"{name}.safetensors").stat().st_size < 5 << 20
        card = (PACKAGE / f"{name}.md").read_text()
        for heading in ("## Trained on", "## Terms", "## Scores", "## Limits"):
            assert heading in card


def discs(seed):
    """Two classes of shaded discs on a shaded ground, with noise: about as clear as borders get."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:160, :200]
    label = np.zeros((160, 200), np.uint8)
    colours = rng.uniform(40, 215, (3, 3))
    for value in (1, 2, 1, 2):
        row, column, radius = rng.uniform(30, 130), rng.uniform(30, 170), rng.uniform(18, 30)
        label[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = value
    image = colours[label] + 0.1 * (rows - columns)[..., None] + rng.normal(0, 6, (160, 200, 3))
    return Example(f"discs {seed}", image.clip(0, 255).astype(np.uint8), label)


@pytest.mark.parametrize(
    ("examples", "least"), [([discs(seed) for seed in range(12)], 0.01), (IMAGES, 0.1)], ids=["discs", "drawn"]
)
def test_borders_are_refined(light, examples, least):
    simulated = SimulatedCoarse(CLASSES)
    coarse = [simulated(example) for example in examples]
    before = scored(
        (enlarged(one, example.label.shape).argmax(0).numpy(), example.label)
        for one, example in zip(coarse, examples, strict=True)
    )
    after = scored((light(example.image, one), example.label) for one, example in zip(coarse, examples, strict=True))
    for score in ("mIoU", "boundary_IoU"):
        assert after[score] > before[score] + least


def test_a_rough_mask_is_refined_where_it_is_said_to_be_rough(light):
    examples = [discs(seed) for seed in range(6)]
    cell = np.ones((10, 10), np.uint8)
    rough = [np.kron(example.label[5::10, 5::10], cell) for example in examples]
    before = scored((one, example.label) for one, example in zip(rough, examples, strict=True))
    after = scored(
        (light(example.image, one, rough=10), example.label) for one, example in zip(rough, examples, strict=True)
    )
    assert after["boundary_IoU"] > before["boundary_IoU"] + 0.05


def test_a_rough_mask_is_refined_by_default(light):
    examples = [discs(seed) for seed in range(6)]
    cell = np.ones((10, 10), np.uint8)
    rough = [np.kron(example.label[5::10, 5::10], cell) for example in examples]
    before = scored((one, example.label) for one, example in zip(rough, examples, strict=True))
    found = [light(example.image, one) for one, example in zip(rough, examples, strict=True)]
    after = scored((one, example.label) for one, example in zip(found, examples, strict=True))
    assert after["boundary_IoU"] > before["boundary_IoU"] + 0.05
    wrong = np.stack([one != example.label for one, example in zip(rough, examples, strict=True)])
    still = np.stack([one != example.label for one, example in zip(found, examples, strict=True)])
    assert still[wrong].mean() < 0.5
    assert still[~wrong].mean() < 0.02


def test_no_label_leaks_along_an_edge_of_the_image(light):
    """Discs that the image cuts off, drawn too low in the mask: its edge is no worse than the rest of their borders."""
    wrong_at_edge, wrong = [], []
    for seed in range(6):
        example = discs(seed)
        image, label = example.image[30:130, 30:170], example.label[30:130, 30:170]
        found = light(image, np.concatenate([label[:1].repeat(4, axis=0), label[:-4]]))
        inner = np.zeros(label.shape, bool)
        inner[4:-4, 4:-4] = True
        near_border = np.abs(np.gradient(label.astype(float))[0]) + np.abs(np.gradient(label.astype(float))[1]) > 0
        rows, columns = np.nonzero(near_border)
        band = np.zeros(label.shape, bool)
        for down in range(-6, 7):
            for across in range(-6, 7):
                band[(rows + down).clip(0, 99), (columns + across).clip(0, 139)] = True
        wrong_at_edge.append((found != label)[band & ~inner])
        wrong.append((found != label)[band & inner])
    assert np.concatenate(wrong_at_edge).mean() < 1.5 * np.concatenate(wrong).mean() + 0.01


@pytest.mark.parametrize("examples", [[discs(seed) for seed in range(12)], IMAGES], ids=["discs", "drawn"])
def test_the_truth_comes_back(light, examples):
    assert scored((light(example.image, example.label), example.label) for example in examples)["mIoU"] >= 0.995


def test_small_regions_do_not_vanish(light):
    kept = []
    for seed in range(6):
        example = discs(seed)
        label, image = example.label.copy(), example.image.copy()
        label[20:26, 60:66], image[20:26, 60:66] = 1, (250, 20, 20)
        label[140:142, 20:180], image[140:142, 20:180] = 2, (10, 20, 240)
        found = light(image, label)
        kept += [(found[20:26, 60:66] == 1).mean(), (found[140:142, 20:180] == 2).mean()]
    assert fmean(kept) > 0.9


def test_any_number_of_classes(light):
    """What the classes are called, and how many there are that occur nowhere, changes nothing."""
    example = IMAGES[0]
    coarse = SimulatedCoarse(CLASSES)(example)
    order = np.random.default_rng(0).permutation(CLASSES)
    many = np.zeros((40, *coarse.shape[1:]), np.uint8)
    many[3 * order] = coarse
    agreement = fmean((light(example.image, many) == 3 * order[light(example.image, coarse)]).flatten().tolist())
    assert agreement > 0.999
