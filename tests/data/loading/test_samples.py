"""Samples are right, and come in an order that nothing but seed, epoch and step decides."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils.data import DataLoader

from spatialprop.data import (
    VOID,
    Augment,
    Example,
    ImageFolder,
    LabelSet,
    SimulatedCoarse,
    SquarePatches,
    SyntheticShapes,
    Window,
    WithCoarse,
    coarse_map,
    collate,
    crop_coarse,
)
from spatialprop.data.loading.batches import ProcessShare, ShuffledBatches
from spatialprop.data.loading.crops import crop_image, crop_label, merge_classes
from spatialprop.data.loading.samples import SampleKey, TrainingPatches, WholeSamples
from tests.data.tiny_folder import write_tiny_folder

FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of a process that has threads


def random_map(classes, height, width):
    return np.rint(np.random.default_rng(0).dirichlet(np.ones(classes), (height, width)) * 255).astype(np.uint8)


def training(examples, *, seed=1, size=32, scale=(0.7, 1.4), per_image=2):
    return TrainingPatches(
        examples,
        SquarePatches(size, scale, multi_label=True),
        Augment(vertical_flip=0.5, blur=0.3, noise=0.3),
        seed=seed,
        per_image=per_image,
        with_coarse=True,
    )


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    return ImageFolder(write_tiny_folder(tmp_path_factory.mktemp("discs")), ["train", "val"])


def same(one, other):
    return one["name"] == other["name"] and all(
        torch.equal(one[key], other[key]) for key in ("image", "label", "coarse")
    )


# Cropping


@pytest.mark.parametrize("cells", [(1, 1), (5, 7), (13, 17), (40, 56), (90, 60)])
@pytest.mark.parametrize("window", [(0, 0, 41, 57), (0, 0, 16, 16), (25, 41, 16, 16), (7, 30, 20, 20), (40, 56, 1, 1)])
def test_a_cropped_coarse_map_is_a_crop_of_the_enlarged_one(cells, window):
    coarse = random_map(4, *cells).transpose(2, 0, 1)
    whole = F.interpolate(torch.from_numpy(coarse.copy())[None].double(), (41, 57), mode="bilinear")[0].numpy()
    whole /= whole.sum(0)
    top, left, height, width = window
    cropped = crop_coarse(coarse, (41, 57), Window(*window), (height, width))
    assert cropped.dtype == np.float32
    np.testing.assert_allclose(cropped, whole[:, top : top + height, left : left + width], atol=1e-5)
    np.testing.assert_allclose(cropped.sum(0), 1, atol=1e-6)


def slow_crop(coarse, image_size, window, size):
    """Bilinear between half-pixel centres, one pixel at a time."""
    out = np.zeros((len(coarse), *size))
    for row, column in np.ndindex(*size):
        places = []
        for index, start, length, count, extent, cells in zip(
            (row, column), window[:2], window[2:], size, image_size, coarse.shape[1:], strict=True
        ):
            place = (start + (index + 0.5) * length / count) / extent * cells - 0.5
            places.append(min(max(place, 0), cells - 1))
        for corner in itertools.product((0, 1), repeat=2):
            nearest = np.minimum(np.array(places, int) + corner, np.array(coarse.shape[1:]) - 1)
            shares = [place % 1 if step else 1 - place % 1 for place, step in zip(places, corner, strict=True)]
            out[:, row, column] += np.prod(shares) * coarse[:, nearest[0], nearest[1]]
    return out / out.sum(0)


@pytest.mark.parametrize(
    ("window", "size"),
    [
        (Window(3, 5, 20, 20), (12, 12)),  # smaller
        (Window(3, 5, 7, 7), (16, 16)),  # larger
        (Window(0, 0, 60, 60), (16, 16)),  # beyond the image's end
        (Window(30, 47, 9, 9), (16, 16)),
        (Window(39, 56, 1, 1), (3, 3)),
    ],
)
@pytest.mark.parametrize("cells", [(1, 3), (5, 7), (40, 57)])
def test_scaled_windows_agree_with_looking_up_each_pixel(cells, window, size):
    coarse = random_map(3, *cells).transpose(2, 0, 1)
    cropped = crop_coarse(coarse, (40, 57), window, size)
    np.testing.assert_allclose(cropped, slow_crop(coarse, (40, 57), window, size), atol=1e-5)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_image_label_and_coarse_map_stay_on_top_of_each_other_when_scaled(factor):
    """Three encodings of one disc, in one place after any window and magnification."""
    rows, columns = np.indices((90, 120)) + 0.5
    disc = np.hypot(rows - 40, columns - 63) < 22
    window, size = Window(10, 20, 72, 72), (72 * factor // 2, 72 * factor // 2)
    image = crop_image(np.stack([disc * np.uint8(200)] * 3, axis=2), window, size)
    label = crop_label(disc.astype(np.uint8), window, size)
    coarse = crop_coarse(np.stack([~disc, disc]) * np.uint8(255), disc.shape, window, size)
    scale = 72 / size[0]
    rows, columns = (np.indices(size) + 0.5) * scale
    exact = np.hypot(rows + 10 - 40, columns + 20 - 63) < 22
    for found in (image[..., 0] > 100, label == 1, coarse[1] > 0.5):
        assert (found != exact).mean() < 0.02
        centre = np.argwhere(found).mean(0) + 0.5
        np.testing.assert_allclose(centre * scale, (30, 43), atol=0.6)  # labels come from one of two pixels


def test_beyond_the_image_its_edge_goes_on_and_nothing_counts():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    label = np.array([[0, 1], [2, 3]], np.uint8)
    window = Window(0, 0, 4, 3)
    assert crop_label(label, window, (4, 3)).tolist() == [[0, 1, VOID], [2, 3, VOID], [VOID] * 3, [VOID] * 3]
    cropped = crop_image(image, window, (4, 3))
    assert cropped[3, 2].tolist() == image[1, 1].tolist()
    assert cropped[0, 2].tolist() == image[0, 1].tolist()


# Samples


def test_a_sample_is_a_piece_of_its_image(examples):
    data = TrainingPatches(examples, SquarePatches(16), Augment(0, colour=0), seed=0, with_coarse=True)
    sample, example = data[SampleKey(3, 5)], examples[5]
    assert sample["name"] == example.name
    assert {key: (tuple(sample[key].shape), sample[key].dtype) for key in ("image", "label", "coarse")} == {
        "image": ((3, 16, 16), torch.float32),
        "label": ((16, 16), torch.int64),
        "coarse": ((4, 16, 16), torch.float32),
    }
    image = torch.from_numpy(example.image).permute(2, 0, 1).float() / 255
    found = [
        (top, left)
        for top, left in itertools.product(range(25), range(41))
        if torch.equal(image[:, top : top + 16, left : left + 16], sample["image"])
    ]
    ((top, left),) = found
    np.testing.assert_array_equal(sample["label"], example.label[top : top + 16, left : left + 16])
    expected = crop_coarse(example.coarse, (40, 56), Window(top, left, 16, 16), (16, 16))
    np.testing.assert_array_equal(sample["coarse"], expected)


def test_every_image_gives_its_share_of_patches(examples):
    data = training(examples, per_image=3)
    names = [data[SampleKey(0, index)]["name"] for index in range(len(data))]
    assert sorted(names) == sorted(3 * examples.names)


@pytest.mark.parametrize("per_image", [0, -1])
def test_no_patch_of_an_image(examples, per_image):
    with pytest.raises(ValueError, match=f"per_image must be at least 1 patch; got {per_image}"):
        training(examples, per_image=per_image)


def test_seed_epoch_and_index_each_give_another_sample_and_nothing_else_does(examples):
    data, key = training(examples), SampleKey(2, 3)
    expected = data[key]
    for other in range(5):
        data[SampleKey(0, other)]
    np.random.seed(3), torch.manual_seed(3)
    assert same(data[key], expected)
    assert same(training(examples)[key], expected)
    for different in (training(examples, seed=2)[key], data[SampleKey(3, 3)], data[SampleKey(2, 3 + len(examples))]):
        assert different["name"] == expected["name"]
        assert not torch.equal(different["image"], expected["image"])


def test_whole_samples_are_the_images_as_they_are(examples):
    sample = WholeSamples(examples, with_coarse=True)[6]
    example = examples[6]
    np.testing.assert_array_equal(sample["image"], example.image.transpose(2, 0, 1) / np.float32(255))
    np.testing.assert_array_equal(sample["label"], example.label)
    whole = F.interpolate(torch.from_numpy(example.coarse)[None].float(), (40, 56), mode="bilinear")[0]
    torch.testing.assert_close(sample["coarse"], whole / whole.sum(0), atol=1e-6, rtol=0)
    assert "coarse" not in WholeSamples(examples)[6]


def test_a_missing_coarse_map_is_named(tmp_path):
    data = WholeSamples(ImageFolder(write_tiny_folder(tmp_path, coarse=False), ["val"]), with_coarse=True)
    with pytest.raises(FileNotFoundError, match="'val_2' has no coarse map"):
        data[2]


# Order


def batches(length=23, batch_size=4, *, seed=1, steps=0, **options):
    return list(ShuffledBatches(length, batch_size, seed=seed, steps_done=lambda: steps, **options))


def test_an_epoch_holds_every_sample_at_most_once():
    epoch = batches()
    assert [len(batch) for batch in epoch] == [4] * 5
    indices = [key.index for batch in epoch for key in batch]
    assert len(set(indices)) == 20
    assert set(indices) <= set(range(23))
    assert {key.epoch for batch in epoch for key in batch} == {0}


def test_epochs_and_seeds_have_orders_of_their_own():
    def order(**options):
        return tuple(key.index for batch in batches(**options) for key in batch)

    assert order() == order()
    assert len({order(), order(steps=5), order(steps=10), order(seed=2)}) == 4
    assert {key.epoch for batch in batches(steps=12) for key in batch} == {2}


@given(st.integers(0, 40), st.integers(1, 3), st.sampled_from([None, 1, 2, 9]))
def test_training_goes_on_with_the_batch_that_is_due(steps, world, repeat):
    """Whenever it stops, what was done and what comes then is what would have come without a stop."""
    options = {"world": world, "rank": world - 1, "repeat": repeat, "length": 26, "batch_size": 2}
    done, course = 0, []
    while done < 80:
        epoch = batches(steps=done, **options)
        assert len(epoch) == len(ShuffledBatches(26, 2, seed=1, steps_done=int, world=world, repeat=repeat))
        course += epoch
        done += len(epoch)
    rest = batches(steps=steps, **options)
    assert course[steps : steps + len(rest)] == rest
    assert (steps + len(rest)) % len(epoch) == 0


def test_repeated_batches_are_the_same_in_every_epoch():
    assert batches(repeat=2, steps=6) == batches(repeat=2) == batches()[:2]
    assert batches(repeat=2, steps=7) == batches()[1:2]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_share_an_epoch_among_them(world):
    shares = [batches(26, 4, world=world, rank=rank) for rank in range(world)]
    assert {len(share) for share in shares} == {26 // (4 * world)}
    keys = [key for share in shares for batch in share for key in batch]
    assert len(set(keys)) == len(keys) == 26 // (4 * world) * 4 * world
    # Together they take the steps that one process with a batch as large would take.
    together = [[key for batch in step for key in batch] for step in zip(*shares, strict=True)]
    assert together == batches(26, 4 * world)


def test_an_epoch_too_short_for_a_batch():
    with pytest.raises(ValueError, match=r"7 samples does not fill one batch of 4 on 2 process.*lower loader\.batch"):
        batches(7, 4, world=2)
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        batches(7, 0)


@given(st.integers(0, 50), st.integers(1, 9))
def test_shares_hold_every_sample_once(length, world):
    shares = [ProcessShare(length, rank, world) for rank in range(world)]
    assert sorted(itertools.chain(*shares)) == list(range(length))
    assert [len(share) for share in shares] == [len(list(share)) for share in shares]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


# With workers


def epochs(data, workers, count=2):
    steps = 0
    order = ShuffledBatches(len(data), 4, seed=data.seed, steps_done=lambda: steps)
    loader = DataLoader(
        data, batch_sampler=order, num_workers=workers, collate_fn=collate, persistent_workers=workers > 0
    )
    course = []
    for _ in range(count):
        course.append(list(loader))
        steps += len(course[-1])
    return course


@FORKS
@pytest.mark.parametrize("workers", [1, 2])
def test_samples_are_the_same_at_any_number_of_workers(examples, workers):
    data = training(examples)
    for expected, found in zip(epochs(data, 0), epochs(data, workers), strict=True):
        assert len(expected) == len(found) == 4
        assert all(map(same, expected, found))


@FORKS
@pytest.mark.parametrize("workers", [0, 2])
def test_no_sample_comes_twice_in_an_epoch_or_in_the_next(examples, workers):
    """Left to itself albumentations repeats itself between workers, and every epoch."""
    first, second = epochs(training(examples), workers)
    images = [image for batch in (*first, *second) for image in batch["image"]]
    assert len({image.numpy().tobytes() for image in images}) == 32


def test_synthetic_patches_hold_more_than_one_label():
    shapes = SyntheticShapes("train", 4, size=(96, 96))
    data = training(WithCoarse(shapes, SimulatedCoarse(6)), size=24, scale=(1, 1))
    for index in range(8):
        assert len(np.setdiff1d(data[SampleKey(0, index)]["label"], VOID)) > 1


# Batches


def test_smaller_samples_are_filled_up_with_void(examples):
    small = TrainingPatches(examples, SquarePatches(24), Augment(), seed=0, with_coarse=True)[SampleKey(0, 0)]
    large = WholeSamples(examples, with_coarse=True)[1]
    batch = collate([small, large])
    assert batch["name"] == [small["name"], large["name"]]
    assert {key: tuple(batch[key].shape) for key in ("image", "label", "coarse")} == {
        "image": (2, 3, 40, 56),
        "label": (2, 40, 56),
        "coarse": (2, 4, 40, 56),
    }
    inside = torch.zeros(40, 56, dtype=torch.bool)
    inside[:24, :24] = True
    assert (batch["label"][0][~inside] == VOID).all()
    assert (batch["image"][0][:, ~inside] == 0).all()
    assert (batch["coarse"][0][:, ~inside] == 0.25).all()
    for key in ("image", "label", "coarse"):
        assert torch.equal(batch[key][0][..., :24, :24], small[key])
        assert torch.equal(batch[key][1], large[key])


def test_batches_without_coarse_maps(examples):
    assert "coarse" not in collate([WholeSamples(examples)[0]])
    assert coarse_map(examples[0]) is not None


def test_a_limited_epoch_ends_early_and_the_next_is_another_order():
    first = batches(23, 4, limit=2)
    assert first == batches(23, 4)[:2]
    second = batches(23, 4, limit=2, steps=2)
    assert len(second) == 2
    assert {key.epoch for batch in second for key in batch} == {1}


# Classes merged


def test_the_largest_classes_stay_and_the_others_become_one():
    label = np.zeros((16, 16), np.uint8)
    label[:6], label[6:8], label[8, :4], label[9, 0] = (
        4,
        2,
        1,
        VOID,
    )  # class 0 covers 115 pixels, class 4 96, class 2 32
    coarse = np.zeros((5, 4, 4), np.uint8)
    coarse[0, 2:], coarse[4, :2] = 200, 150
    coarse[1], coarse[2], coarse[3] = 30, 20, 5
    merged_label, merged = merge_classes(label, coarse, (16, 16), Window(0, 0, 16, 16), 3)
    assert (merged_label == np.select([label == 0, label == 4, label == VOID], [0, 1, VOID], 2)).all()
    assert (merged[0] == coarse[0]).all()
    assert (merged[1] == coarse[4]).all()
    assert (merged[2] == 55).all()


def test_fewer_classes_than_asked_for_leave_empty_ones():
    coarse = random_map(2, 4, 4).transpose(2, 0, 1)
    label, merged = merge_classes(np.ones((8, 8), np.uint8), coarse, (8, 8), Window(0, 0, 8, 8), 5)
    assert (label == 0).all()
    assert (merged[:2] == coarse[::-1]).all()
    assert not merged[2:].any()


def test_only_the_window_decides_which_classes_are_large():
    coarse = np.zeros((3, 8, 8), np.uint8)
    coarse[2], coarse[1, :, 6:] = 255, 255
    coarse[2, :, 6:] = 0
    label = np.full((8, 8), 1, np.uint8)
    _, merged = merge_classes(label, coarse, (64, 64), Window(0, 52, 8, 8), 2)
    assert (merged[0] == coarse[1]).all()


def test_merged_patches_have_as_many_classes_as_asked_for(examples):
    patches = TrainingPatches(
        examples, SquarePatches(16), Augment(), seed=0, with_coarse=True, most_classes=2
    )  # fmt: skip
    sample = patches[SampleKey(0, 0)]
    assert sample["coarse"].shape[0] == 2
    torch.testing.assert_close(sample["coarse"].sum(0), torch.ones(16, 16))
    assert set(sample["label"].unique().tolist()) <= {0, 1, VOID}
    with pytest.raises(ValueError, match="at least 2"):
        TrainingPatches(examples, SquarePatches(16), Augment(), seed=0, with_coarse=True, most_classes=1)


def test_images_of_one_label_are_skipped_if_asked_for():
    """The next image with more than one label takes their place."""

    class Uniform:
        names = ("plain", "mixed")
        labels = LabelSet("two", ("a", "b"))

        def __len__(self):
            return 2

        def __getitem__(self, index):
            label = np.zeros((40, 40), np.uint8)
            label[:, 20:] = index
            return Example(self.names[index], np.zeros((40, 40, 3), np.uint8), label)

    def names(**options):
        data = TrainingPatches(Uniform(), SquarePatches(16, multi_label=True, **options), Augment(0, colour=0), seed=0)
        return [data[SampleKey(0, index)]["name"] for index in range(2)]

    assert names() == ["plain", "mixed"]
    assert names(skip_uniform=True) == ["mixed", "mixed"]
    with pytest.raises(ValueError, match="set multi_label=true"):
        SquarePatches(16, skip_uniform=True)
    everywhere = TrainingPatches(
        Uniform(), SquarePatches(4, multi_label=True, skip_uniform=True), Augment(0, colour=0), seed=0
    )
    everywhere.examples.__class__.__len__ = lambda _: 1  # the plain one alone
    with pytest.raises(ValueError, match=r"patches\.skip_uniform=false"):
        everywhere[SampleKey(0, 0)]
