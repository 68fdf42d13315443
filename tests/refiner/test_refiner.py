"""What the refiner computes, and what it says of input that it cannot use."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from spatialprop import Refiner
from spatialprop.errors import InputError
from spatialprop.nn.guidance import LightGuidance, UNetGuidance
from spatialprop.nn.refinement import hint_maps
from spatialprop.refiner import save_refiner
from spatialprop.refiner.inputs import to_coarse
from spatialprop.refiner.tiles import spans
from tests.refiner.networks import each_kind, photograph, probabilities, trained, trusting, twice

LIGHT = partial(LightGuidance, width=8, stages=3)


@pytest.fixture(scope="module", params=["trusting", "by gates"])
def refiner(request):
    return Refiner(each_kind()[request.param])


@pytest.fixture(scope="module")
def judging():
    """It sees how far labels may be trusted."""
    return Refiner(trusting())


@pytest.fixture(scope="module")
def believing():
    """It does not, and believes them."""
    return Refiner(trained())


def by_hand(network, image, coarse):
    """The network itself, on the coarse map enlarged. (K, H, W)"""
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    whole = F.interpolate(torch.from_numpy(coarse)[None], image.shape[:2], mode="bilinear")
    with torch.no_grad():
        refined = network(pixels, whole)[0].exp()
    return (refined / refined.sum(dim=0)).numpy()


@pytest.mark.parametrize("hints", [(), ("confidence", "entropy")])
@pytest.mark.parametrize(
    "guidance", [LIGHT, partial(LIGHT, stride=1), partial(LIGHT, stride=4), partial(UNetGuidance, width=4)]
)
def test_is_the_network(guidance, hints):
    network = trained(guidance, hints=hints)
    image, coarse = photograph(61, 45), probabilities(5, 8, 6)
    check_is_the_network(network, image, coarse)


@pytest.mark.parametrize("size", [(61, 45), (64, 72), (1, 1), (2, 7)])
@pytest.mark.parametrize(
    "options", [{}, {"separate_gates": False, "units": 3}, {"widths": (8,) * 5, "depths": (1,) * 5}]
)
def test_is_the_trusting_network(size, options):
    cells = [-(-side // 8) for side in size]
    check_is_the_network(trusting(**options), photograph(*size), probabilities(5, *cells))


def check_is_the_network(network, image, coarse):
    expected = by_hand(network, image, coarse)
    refiner = Refiner(network)
    np.testing.assert_allclose(refiner.probabilities(image, coarse, restrict=False), expected, atol=2e-5)
    assert (refiner(image, coarse, restrict=False) == expected.argmax(axis=0)).mean() > 0.999


@pytest.mark.parametrize("size", [(61, 45), (30, 70), (8, 6), (1, 1), (200, 3)])
def test_coarse_maps_of_any_resolution(refiner, size):
    image, coarse = photograph(61, 45), probabilities(4, *size)
    shrunk = refiner.probabilities(image, coarse)
    assert shrunk.shape == (4, 61, 45)
    np.testing.assert_allclose(shrunk.sum(axis=0), 1, atol=1e-5)
    if size[0] <= 61 and size[1] <= 45:  # else it is averaged, where this enlarges
        np.testing.assert_allclose(shrunk, restricted(by_hand(refiner.network, image, coarse), coarse), atol=2e-5)


def restricted(refined, coarse):
    kept = np.isin(np.arange(len(coarse)), coarse.argmax(axis=0))
    refined = refined * kept[:, None, None]
    return refined / refined.sum(axis=0)


def test_classes_that_are_nowhere_the_most_likely_stay_away(refiner):
    image, coarse = photograph(48, 40), probabilities(6, 6, 5)
    coarse[2] = coarse.min(axis=0) * 0.5
    coarse /= coarse.sum(axis=0)
    assert 2 not in refiner(image, coarse)
    refined = refiner.probabilities(image, coarse)
    assert not refined[2].any()
    np.testing.assert_allclose(refined.sum(axis=0), 1, atol=1e-5)
    assert refiner.probabilities(image, coarse, restrict=False)[2].all()


def test_cells_of_zeros_are_not_known():
    shares = probabilities(3, 8, 8)
    shares[:, 2:6, 2:6] = 0
    (coarse,) = to_coarse(shares, torch.zeros(1, 3, 8, 8), batched=False)
    expected = torch.ones(4, 4)
    expected[1:3, 1:3] = 0
    torch.testing.assert_close(coarse.known_in_cells((8, 8), 2)[0, 0], expected)


def test_cells_of_zeros_say_nothing_whichever_type_they_come_in(refiner):
    image, stored = photograph(48, 64), np.rint(probabilities(4, 6, 8) * 255).astype(np.uint8)
    whole = refiner.probabilities(image, stored)
    stored[:, 2:4, 3:5] = 0
    shares = stored.astype(np.float32) / 255
    expected = refiner.probabilities(image, shares)
    assert np.abs(expected - whole)[:, 20:28, 28:36].max() > 0.01
    np.testing.assert_allclose(expected.sum(axis=0), 1, atol=1e-5)
    for same in (stored, torch.from_numpy(stored), torch.from_numpy(shares)):
        np.testing.assert_allclose(np.asarray(refiner.probabilities(image, same)), expected, atol=1e-5)


def test_where_nothing_is_known_labels_come_from_around():
    coarse = np.zeros((3, 40, 40), np.float32)
    coarse[2] = 1
    coarse[:, 10:30, 10:30] = 0
    refiner = Refiner(trusting())
    assert (refiner(photograph(40, 40), coarse) == 2).all()  # and not the first class, which nobody named
    assert (refiner(photograph(40, 40), coarse, restrict=False) == 2).all()
    np.testing.assert_allclose(refiner.probabilities(photograph(40, 40), coarse)[2], 1)


def test_one_class_is_one_class(refiner):
    image = photograph(20, 30)
    assert (refiner(image, np.full((20, 30), 7)) == 7).all()
    refined = refiner.probabilities(image, np.full((20, 30), 2))
    assert refined.shape == (3, 20, 30)
    assert (refined == np.array([0, 0, 1]).reshape(3, 1, 1)).all()


def thin_structures(height=60, width=80):
    """Labels with lines of a pixel, which half of the resolution cannot hold."""
    labels = np.zeros((height, width), np.int64)
    labels[:, 21] = labels[33] = 1
    labels[40:, 50:] = 2
    return labels


def test_detail_finer_than_cells_survives_where_pixels_choose_themselves():
    network = trusting(std=0)
    network.guidance.head.bias.data[-20:].view(4, 5)[:, 4] = 9  # after four cells the pixel's own share
    labels, refiner = thin_structures(), Refiner(network)
    image = photograph(*labels.shape)
    assert (refiner(image, labels) == labels).all()
    assert (refiner.probabilities(image, labels).argmax(axis=0) == labels).all()
    network.guidance.head.bias.data[-20:].view(4, 5)[:, 4] = -9
    assert (Refiner(network)(image, labels) != labels).any()


def test_labels_are_refined_as_their_certain_probabilities_are(judging):
    labels = thin_structures()
    image = photograph(*labels.shape)
    certain = np.eye(5)[labels].transpose(2, 0, 1)
    assert (judging(image, labels) != labels).any()
    assert (judging(image, certain) == judging(image, labels)).mean() > 0.999
    np.testing.assert_allclose(
        judging.probabilities(image, certain)[:3], judging.probabilities(image, labels), atol=1e-5
    )
    assert (judging.probabilities(image, labels).argmax(axis=0) == judging(image, labels)).mean() > 0.999


def test_who_cannot_judge_labels_believes_them(believing):
    labels = thin_structures()
    image = photograph(*labels.shape)
    assert (believing(image, labels) == labels).all()
    shares = believing.probabilities(image, labels, classes=5)
    assert (shares == np.eye(5)[labels].transpose(2, 0, 1)).all()
    assert (believing(image, labels, rough=4) != labels).any()


@pytest.mark.parametrize("doubt", [0, 1 / 255])
def test_who_cannot_judge_labels_believes_what_is_certain_but_for_rounding(believing, doubt):
    labels = np.kron(thin_structures(), np.ones((4, 4), np.int64))
    image, certain = photograph(*labels.shape), np.eye(5)[labels].transpose(2, 0, 1)
    nearly = certain * (1 - doubt) + doubt / 5
    nearly[:, 10, 10] = 0.6 * certain[:, 10, 10] + 0.08
    for batched in (False, True):
        given = torch.from_numpy(nearly.astype(np.float32))
        seen = torch.from_numpy(image).permute(2, 0, 1)
        found = believing(seen[None], given[None])[0] if batched else believing(image, nearly)
        assert (np.asarray(found) == labels).all()
    unknown = certain.copy()
    unknown[:, 10, 10] = 0  # which is no label
    assert (believing(image, unknown) != labels).any()
    assert (believing(image[::2], certain) != labels[::2]).any()  # not of the image's size


@pytest.mark.parametrize("dtype", [torch.uint64, torch.uint32, torch.uint16, torch.int8, torch.bool])
def test_every_type_of_labels_is_taken(refiner, dtype):
    labels = torch.from_numpy(thin_structures()).clamp_max(1).to(dtype)
    image = photograph(*labels.shape)
    refined = refiner(image, labels)
    assert refined.dtype == dtype
    assert (refined.int().numpy() == refiner(image, labels.int().numpy())).all()


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(16, 16, dtype=torch.int32).to_sparse(),
        torch.zeros(16, 16).to(torch.float8_e4m3fn),
        torch.zeros(16, 16, dtype=torch.int32, device="meta"),
        torch.zeros(16, 16, dtype=torch.complex64),
    ],
    ids=["sparse", "float8", "meta", "complex"],
)
def test_tensors_that_nobody_computes_with_are_refused(refiner, tensor):
    with pytest.raises(InputError, match=r"(must be a dense tensor|must hold floats)"):
        refiner(photograph(16, 16), tensor)
    with pytest.raises(InputError, match="an image"):
        refiner(tensor, np.eye(16, dtype=int))


def test_more_classes_than_can_take_part_are_refused(refiner):
    labels = np.arange(65536).reshape(256, 256)
    with pytest.raises(InputError, match=r"4096 classes at once.*got 65536 labels that occur"):
        refiner(photograph(256, 256), labels)
    with pytest.raises(InputError, match="got 5000 maps of probabilities"):
        refiner(photograph(8, 8), np.full((5000, 2, 2), 1 / 5000))


def test_what_does_not_fit_into_memory_is_refused_before_it_is_tried(refiner, monkeypatch):
    image, labels = photograph(100, 100), np.eye(100, dtype=np.uint8)
    monkeypatch.setattr("spatialprop.memory.memory_left", lambda: 1_700_000)
    assert refiner(image, labels).shape == (100, 100)
    with pytest.raises(InputError, match=r"200 maps of 100x100 pixels needs about .*ask for labels"):
        refiner.probabilities(image, labels, classes=200)
    monkeypatch.setattr("spatialprop.memory.memory_left", lambda: 900_000)
    with pytest.raises(InputError, match=r"an image of 100x100 pixels needs about .*make image and map smaller"):
        refiner(image, labels)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_give_no_numbers_are_named(value, tmp_path):
    network = trained(LIGHT)
    network.guidance.head.bias.data[0] = value
    with pytest.raises(InputError, match="the weights of this network give guidance that is not finite"):
        Refiner(network)(photograph(16, 16), probabilities(2, 16, 16))


class Refining(torch.utils.data.Dataset):
    def __init__(self, refiner):
        self.refiner = refiner

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.refiner(photograph(64, 64, index), np.eye(64, dtype=np.uint8))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_dataloader_workers_refine_after_their_parent_has(refiner):
    """PyTorch's threads do not survive a fork; it gives workers one thread, with which they do."""
    torch.rand(4000, 400).matmul(torch.rand(400, 400)).sum()  # on several threads
    expected = Refining(refiner)
    workers = torch.utils.data.DataLoader(expected, num_workers=2, multiprocessing_context="fork", timeout=100)
    for index, found in enumerate(workers):
        assert (found[0].numpy() == expected[index]).all()


def test_weights_of_a_file_that_give_no_numbers_are_named(tmp_path):
    network = trained(LIGHT)
    for parameter in network.parameters():
        parameter.data.fill_(1e20)  # each of them a number
    save_refiner(network, tmp_path / "huge.safetensors")
    with pytest.raises(InputError, match=r"the weights .*huge\.safetensors give guidance that is not finite"):
        Refiner.load(tmp_path / "huge.safetensors")(photograph(16, 16), probabilities(2, 16, 16))


@pytest.mark.parametrize("size", [(40, 60), (39, 57)])
def test_nothing_collects_along_edges_of_the_image(size):
    """All pixels hear all neighbours alike; a blot in the middle then fades towards each edge, up to the last pixel."""
    network = trusting(std=0)
    network.guidance.head.bias.data[:-21] = -1  # gates which leave something of each pixel
    network.guidance.head.bias.data[-20:].view(4, 5)[:, 4] = -99  # cells alone
    labels = np.zeros(size, np.uint8)
    labels[14:26, 20:36] = 1
    shares = Refiner(network).probabilities(photograph(*size), labels)[1]
    assert shares[0].max() > 1e-3  # it is heard as far as there
    for turned in (shares, shares[::-1], shares.T, shares.T[::-1]):
        assert (np.diff(turned[:6], axis=0) >= -1e-6).all()


TILED = [
    trained(hints=("confidence",)),
    trained(partial(LIGHT, stages=4, stride=1)),
    trained(partial(UNetGuidance, width=2), hints=("confidence",)),
    trusting(),
    trusting(widths=(8, 8, 8, 8), depths=(1, 1, 1, 1)),
]


@pytest.mark.parametrize("network", [*TILED, twice()], ids=["gates", "fine", "unet", "trusting", "deeper", "twice"])
@pytest.mark.parametrize("labels", [False, True], ids=["", "labels"])
def test_tiles_change_nothing(network, labels, monkeypatch):
    image, coarse = photograph(333, 501), probabilities(3, 42, 63)
    coarse = np.kron(coarse.argmax(axis=0), np.ones((8, 8), np.int64))[:333, :501] if labels else coarse
    tiled, whole = Refiner(network, tile=32), Refiner(network, tile=1024)
    looks = []
    kind = type(network)
    monkeypatch.setattr(kind, "judges_labels", True)  # else labels come back as they are
    look = kind.look
    monkeypatch.setattr(kind, "look", lambda self, seen, *rest: looks.append(seen.shape) or look(self, seen, *rest))
    np.testing.assert_allclose(tiled.probabilities(image, coarse), whole.probabilities(image, coarse), atol=1e-5)
    assert len(looks) > 3


@pytest.mark.parametrize("side", [1, 2, 5, 9, 13])
@pytest.mark.parametrize("wide", [False, True], ids=["tall", "wide"])
def test_tiles_change_nothing_in_a_strip(side, wide):
    """Whose cells are as many as its pixels, or half as many, so that its short side does not tell the cells' size."""
    image, coarse = photograph(side, 400), probabilities(2, side, 400)
    if not wide:
        image, coarse = image.transpose(1, 0, 2), coarse.transpose(0, 2, 1)
    tiled, whole = (Refiner(TILED[3], tile=tile).probabilities(image, coarse) for tile in (32, 1024))
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


@pytest.mark.parametrize("network", TILED[3:], ids=["small", "deeper"])
def test_nothing_beyond_its_reach_changes_the_guidance(network):
    """The reach is that of the worst pixel of a coarsest cell, so that tiles may end there, and not much farther."""
    size, reach = 8 * network.reach, network.reach
    one = torch.rand(1, 3, 64, size, generator=torch.Generator().manual_seed(0))
    other = one.clone()
    other[..., : size // 2] = torch.rand(1, 3, 64, size // 2, generator=torch.Generator().manual_seed(1))
    labels = torch.zeros(1, 64, size, dtype=torch.int32)
    described = network.describe(one, [torch.rand(1, 2, 32, size // 2).softmax(dim=1)])
    with torch.no_grad():
        pairs = zip(*(network.look(image, labels, *described).tensors() for image in (one, other)), strict=True)
    for before, after in pairs:
        changed = (before != after).flatten(0, -2).any(dim=0)
        assert changed.nonzero().max() * 2 < size // 2 + reach
        assert changed[(size // 2 + reach // 3) // 2 :].any()


@pytest.mark.parametrize("length", [1, 31, 32, 33, 100, 127, 1000])
def test_tiles_keep_every_pixel_once(length):
    kept = [pixel for span in spans(length, 32, 24) for pixel in range(span.first, span.last)]
    assert kept == list(range(length))
    for span in spans(length, 32, 24):
        assert span.start in (0, span.first - 24)
        assert span.stop in (length, span.last + 24)


def test_memory_for_many_classes_is_bounded(refiner, monkeypatch):
    image, coarse = photograph(40, 40), probabilities(9, 5, 5)
    expected = refiner.probabilities(image, coarse), refiner(image, coarse)
    monkeypatch.setattr("spatialprop.refiner.coarse_maps.MOST_AT_ONCE", 20 * 20 * 2)
    np.testing.assert_allclose(refiner.probabilities(image, coarse), expected[0], atol=1e-5)
    assert (refiner(image, coarse) == expected[1]).mean() > 0.999


# Kinds of input


def test_images_of_all_kinds_say_the_same(refiner):
    image, coarse = photograph(24, 32), probabilities(3, 6, 8)
    expected = refiner.probabilities(image, coarse)
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    for same in (Image.fromarray(image), tensor, tensor.float() / 255, image / 255, image.astype(np.uint16) * 257):
        np.testing.assert_allclose(refiner.probabilities(same, coarse), expected, atol=1e-5)
    grey = image[..., 0]
    np.testing.assert_allclose(
        refiner.probabilities(grey, coarse), refiner.probabilities(grey[..., None].repeat(3, 2), coarse), atol=1e-6
    )


def test_an_image_of_pillow_is_turned_upright(refiner):
    picture = Image.fromarray(photograph(32, 24))
    picture.getexif()[0x0112] = 6
    upright = np.rot90(photograph(32, 24), -1)
    labels = np.eye(24, 32, dtype=np.uint8)
    np.testing.assert_array_equal(refiner(picture, labels), refiner(upright, labels))


def test_results_are_what_the_coarse_map_was(refiner):
    image, coarse = photograph(24, 32), probabilities(3, 6, 8)
    assert isinstance(refiner(image, coarse), np.ndarray)
    assert refiner(image, coarse).dtype == np.int64
    assert isinstance(refiner(image, torch.from_numpy(coarse)), torch.Tensor)
    assert refiner(image, torch.from_numpy(coarse)).dtype == torch.int64
    for dtype in (np.uint8, np.int16, np.uint16, np.int32, np.int64, bool):
        assert refiner(image, np.eye(24, 32).astype(dtype)).dtype == dtype
    assert refiner(image, torch.eye(24, 32).to(torch.uint8)).dtype == torch.uint8
    assert refiner.probabilities(image, coarse).dtype == np.float32


def test_bytes_are_probabilities_times_255(refiner):
    image, coarse = photograph(24, 32), probabilities(3, 6, 8)
    stored = np.rint(coarse * 255).astype(np.uint8)
    shares = stored / stored.sum(axis=0, dtype=np.float64)
    expected = refiner.probabilities(image, shares.astype(np.float32))
    np.testing.assert_allclose(refiner.probabilities(image, stored), expected, atol=1e-4)


@pytest.mark.parametrize("restrict", [True, False])
def test_a_batch_is_its_images(refiner, restrict):
    images = torch.stack([torch.from_numpy(photograph(24, 32, seed)).permute(2, 0, 1) for seed in range(3)])
    maps = torch.from_numpy(np.stack([probabilities(5, 3, 4, seed) for seed in range(3)]))
    each = [refiner.probabilities(*pair, restrict=restrict) for pair in zip(images, maps, strict=True)]
    torch.testing.assert_close(
        refiner.probabilities(images, maps, restrict=restrict), torch.stack(each), atol=1e-5, rtol=0
    )
    labels = torch.stack([refiner(*pair, restrict=restrict) for pair in zip(images, maps, strict=True)])
    assert (refiner(images, maps, restrict=restrict) == labels).float().mean() > 0.999
    hard = torch.randint(0, 4, (3, 24, 32), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    hard[0].clamp_(max=1)
    found = refiner(images, hard)
    assert found.dtype == torch.int32
    assert found[0].max() == 1
    assert (found == torch.stack([refiner(*pair) for pair in zip(images, hard, strict=True)])).float().mean() > 0.999


def test_an_image_does_not_depend_on_what_else_is_in_its_batch(refiner):
    images = torch.stack([torch.from_numpy(photograph(24, 32, seed)).permute(2, 0, 1) for seed in range(2)])
    soft = torch.from_numpy(probabilities(3, 24, 32))
    certain = torch.nn.functional.one_hot(soft.argmax(dim=0), 3).permute(2, 0, 1).float()
    maps = torch.stack([certain, soft])
    for call in (refiner, refiner.probabilities):
        for image, coarse, found in zip(images, maps, call(images, maps), strict=True):
            torch.testing.assert_close(found, call(image, coarse))


def test_a_refiner_keeps_a_copy():
    network = trained().train()
    refiner = Refiner(network)
    assert network.training
    image, coarse = photograph(24, 32), probabilities(3, 24, 32)
    before = refiner.probabilities(image, coarse)
    with torch.no_grad():
        network.guidance.head.weight.zero_()
        network.guidance.head.bias.fill_(1)
    np.testing.assert_array_equal(refiner.probabilities(image, coarse), before)


def test_nothing_is_written_to(refiner):
    image, coarse = photograph(24, 32), probabilities(3, 24, 32)
    labels = coarse.argmax(axis=0)
    copies = image.copy(), coarse.copy(), labels.copy()
    for given in (coarse, labels):
        refiner(image, given)
        refiner.probabilities(image, given)
        refiner.affinity(image, given, (3, 4))
    for after, before in zip((image, coarse, labels), copies, strict=True):
        assert (after == before).all()
    image.flags.writeable = False
    refiner(image, coarse)


def test_autocast_and_gradients_outside_do_not_matter(refiner):
    image, coarse = photograph(24, 32), torch.from_numpy(probabilities(3, 6, 8)).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        refined = refiner.probabilities(image, coarse)
    assert not refined.requires_grad
    torch.testing.assert_close(refined, refiner.probabilities(image, coarse), atol=0, rtol=0)
    with torch.inference_mode():
        torch.testing.assert_close(refiner.affinity(image, coarse, (3, 4)), refiner.affinity(image, coarse, (3, 4)))


# Label maps


def test_labels_keep_their_values(refiner):
    labels = np.zeros((40, 40), np.uint8)
    labels[10:30, 10:30] = 200
    labels[:4, :4] = 7
    refined = refiner(photograph(40, 40), labels)
    assert set(np.unique(refined)) <= {0, 7, 200}


def test_by_default_a_mask_is_refined_by_who_can_judge_it(refiner):
    image, labels = photograph(48, 48), np.kron(np.eye(6, dtype=np.uint8), np.ones((8, 8), np.uint8))
    assert (refiner(image, labels) != labels).any() == refiner.network.judges_labels
    np.testing.assert_array_equal(refiner(image, labels, rough="auto"), refiner(image, labels))


@pytest.mark.parametrize("kind", [int, float, np.float32])
def test_rough_0_believes_labels(refiner, kind):
    image, labels = photograph(48, 47), np.kron(np.eye(6, dtype=np.uint8), np.ones((8, 8), np.uint8))[:, :47] * 5
    np.testing.assert_array_equal(refiner(image, labels, rough=kind(0)), labels)
    shares = refiner.probabilities(image, labels, rough=kind(0), classes=9)
    np.testing.assert_array_equal(shares, np.eye(9, dtype=np.float32)[labels].transpose(2, 0, 1))


def in_cells(labels, rough):
    (coarse,) = to_coarse(labels, torch.zeros(1, 3, *labels.shape), batched=False, rough=rough)
    assert not coarse.are_labels
    return coarse.values


def test_rough_labels_are_probabilities_of_cells_of_that_size():
    labels = np.zeros((64, 64), np.int64)
    labels[:, 32:] = 1
    assert [in_cells(labels, rough).shape for rough in (1, 4, 7.9, 16, 1000)] == [
        (1, 2, side, side) for side in (64, 16, 8, 4, 1)
    ]
    shares = in_cells(labels, 16)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(1, 4, 4))
    assert shares[0, 1, 2].tolist() == sorted(shares[0, 1, 2].tolist())
    assert shares[0, 0, 2, 0] > 0.9 > shares[0, 0, 2, 1] > 0.5 > shares[0, 0, 2, 2]


def test_rough_labels_keep_what_is_smaller_than_a_cell(refiner):
    image, labels = photograph(64, 64), np.zeros((64, 64), np.uint8)
    labels[20:24, 20:24] = 3
    assert refiner.open(image, labels, rough=16).present[0].tolist() == [0, 3]


def test_what_is_rougher_changes_more(refiner):
    image, labels = photograph(48, 48), np.kron(np.eye(6, dtype=np.uint8), np.ones((8, 8), np.uint8))
    changed = [(refiner(image, labels, rough=rough) != labels).mean() for rough in (1, 16)]
    assert changed[0] < changed[1]
    shares = refiner.probabilities(image, labels, rough=16)
    assert (shares.argmax(axis=0) == refiner(image, labels, rough=16)).mean() > 0.99


@pytest.mark.parametrize("rough", [0.5, -3, float("nan"), float("inf"), "16", [4], True, None])
def test_roughness_is_auto_or_a_number_of_pixels(refiner, rough):
    with pytest.raises(
        InputError, match=r"rough must be 'auto', 0 to believe borders, or a number of pixels from 1 on .*; got"
    ):
        refiner(photograph(8, 8), np.eye(8, dtype=np.uint8), rough=rough)


def test_probabilities_are_not_rough(refiner):
    with pytest.raises(
        InputError, match=r"rough applies to label maps and masks; got 3 maps of probabilities.*: leave rough out"
    ):
        refiner.probabilities(photograph(8, 8), probabilities(3, 8, 8), rough=4)


def test_void_of_another_type_is_a_class_of_its_own(refiner):
    labels = np.full((16, 16), 255, np.uint8)
    labels[:8] = 1
    assert refiner.probabilities(photograph(16, 16), labels).shape == (256, 16, 16)


# Affinity


@pytest.mark.parametrize("pixel", [(5, 9), (0, 0), (32, 25), (17, 11)])
@pytest.mark.parametrize("labels", [False, True], ids=["", "labels"])
def test_affinity_is_how_much_a_result_changes(pixel, labels):
    """A refined share is a linear function of its class's coarse shares, and its slopes are the affinity."""
    refiner, coarse = Refiner(trusting()), probabilities(4, 33, 26)
    coarse = coarse.argmax(axis=0) if labels else coarse
    opened = refiner.open(photograph(33, 26), coarse)
    affinity = opened.affinity(pixel)
    assert affinity.min() >= 0
    np.testing.assert_allclose(affinity.sum(), 1, atol=1e-4)
    winner = opened.labels[pixel]
    own = (coarse == winner) if labels else coarse[winner]
    np.testing.assert_allclose((affinity * own).sum(), opened.probabilities[winner][pixel], atol=1e-4)


@pytest.mark.parametrize("hints", [(), ("confidence", "entropy")])
def test_affinity_is_that_of_the_network(hints):
    network = trained(hints=hints)
    image, coarse = photograph(33, 26), probabilities(4, 33, 26)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    expected = network.affinity(pixels, torch.from_numpy(coarse)[None], (5, 9)).numpy()
    found = Refiner(network).affinity(image, coarse, (5, 9))
    assert found.shape == (33, 26)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(), 1, atol=1e-4)


def test_affinity_without_a_map_counts_directions_alike(refiner):
    affinity = refiner.affinity(photograph(20, 30), None, (7, 8))
    assert affinity.shape == (20, 30)
    np.testing.assert_allclose(affinity.sum(), 1, atol=1e-4)
    tensor = refiner.affinity(torch.from_numpy(photograph(20, 30)).permute(2, 0, 1), None, (7, 8))
    np.testing.assert_allclose(tensor.numpy(), affinity, atol=1e-6)


def test_affinity_of_labels_and_of_one_class(refiner):
    for labels in (np.eye(20, dtype=np.uint8), np.full((20, 20), 3)):
        np.testing.assert_allclose(refiner.affinity(photograph(20, 20), labels, (7, 8)).sum(), 1, atol=1e-4)


@pytest.mark.parametrize("pixel", [(-1, 0), (20, 0), (0, 30)])
def test_affinity_of_a_pixel_outside(refiner, pixel):
    with pytest.raises(InputError, match="lies outside the image; it needs a row from 0 to 19"):
        refiner.affinity(photograph(20, 30), None, pixel)


@pytest.mark.parametrize("pixel", [(1, 2, 3), (1.5, 2), 7])
def test_affinity_of_what_is_no_pixel(refiner, pixel):
    with pytest.raises(InputError, match=r"two whole numbers, \(row, column\); got"):
        refiner.affinity(photograph(20, 30), None, pixel)


@pytest.mark.parametrize("coarse", [torch.rand(2, 3, 8, 8).softmax(1), None])
def test_affinity_is_not_for_batches(refiner, coarse):
    with pytest.raises(InputError, match="belongs to one image; got a batch of 2"):
        refiner.affinity(torch.rand(2, 3, 8, 8), coarse, (0, 0))


IMAGE = photograph(16, 24)
COARSE = probabilities(3, 16, 24)


def spoilt(value):
    coarse = COARSE.copy()
    coarse[1, 2, 3] = value
    return coarse


@pytest.mark.parametrize(
    ("image", "coarse", "message"),
    [
        (IMAGE, spoilt(np.nan), "from 0 to 1; got values from nan"),
        (IMAGE, spoilt(np.inf), "to inf: apply softmax"),
        (IMAGE, spoilt(-0.1), "got values from -0.1"),
        (IMAGE, np.log(COARSE), "apply softmax over the classes to scores first"),
        (IMAGE, COARSE * 0.3, "must sum to one over the classes"),
        (IMAGE, np.moveaxis(COARSE, 0, -1), "come first"),
        (IMAGE, np.zeros((3, 4, 4), np.uint8), "the coarse map is 0 everywhere: nothing is known"),
        (IMAGE, COARSE[:1], r"np.stack\(\[1 - mask, mask\]\)"),
        (IMAGE, COARSE[0], "must hold integers; got torch.float32"),
        (IMAGE, COARSE[None], r"\(K, h, w\) or \(H, W\); got \(1, 3, 16, 24\)"),
        (IMAGE, COARSE[:, :0], "must not be empty"),
        (IMAGE, COARSE.swapaxes(1, 2), "EXIF orientation"),
        (IMAGE, COARSE.astype(complex), "must hold numbers"),
        (IMAGE, COARSE.astype(np.int64), "must be floats from 0 to 1, or uint8 x 255; got torch.int64"),
        (IMAGE, np.zeros((8, 12), np.uint8), "got a map of 12x8 for an image of 24x16: enlarge it by nearest"),
        (IMAGE, np.zeros((24, 16), np.uint8), "one of them is turned"),
        (IMAGE, np.full((16, 24), -1), "from 0 to 65535; got -1"),
        (IMAGE, np.full((16, 24), 70000), "got 70000"),
        (IMAGE, Image.new("L", (24, 16)), "np.asarray"),
        (IMAGE[..., :2], COARSE, r"\(H, W, 3\).*got \(16, 24, 2\)"),
        (IMAGE[:0], COARSE, "at least one pixel"),
        (IMAGE.astype(np.int64), COARSE, "uint8, uint16 or floats"),
        (IMAGE.astype(np.float32), COARSE, "divide bytes by 255"),
        (torch.rand(16, 24, 3), COARSE, r"\(3, H, W\) or \(N, 3, H, W\)"),
        (torch.rand(2, 3, 16, 24), COARSE[None], "2 images and 1 maps"),
        (torch.rand(2, 3, 16, 24), COARSE[0], "as the image is a batch"),
        (np.full((16, 24), "cat"), COARSE, "must hold numbers"),
        (IMAGE, COARSE.astype(np.longdouble), "at most 64 bits"),
        (IMAGE.transpose(2, 0, 1), COARSE, r"move the channels to the end by np.moveaxis\(image, 0, -1\)"),
        (IMAGE[..., :1], COARSE, r"drop its last axis by image\[..., 0\]"),
        (IMAGE.repeat(2, axis=2)[..., :4], COARSE, r"drop an alpha channel by image\[..., :3\]"),
        (IMAGE > 100, COARSE, "convert bytes by image.astype"),
    ],
)
def test_what_cannot_be_used_is_named(refiner, image, coarse, message):
    for call in (refiner, refiner.probabilities):
        with pytest.raises(InputError, match=message):
            call(image, coarse)


def test_labels_beyond_the_classes_are_named(refiner):
    with pytest.raises(InputError, match="classes from 0 to 2; got 3"):
        refiner(IMAGE, np.full((16, 24), 3), classes=3)
    with pytest.raises(InputError, match="classes must be at least 1; got 0"):
        refiner(IMAGE, np.full((16, 24), 3), classes=0)
    with pytest.raises(InputError, match="holds 3 classes, where 5 were announced"):
        refiner(IMAGE, COARSE, classes=5)
    assert refiner.probabilities(IMAGE, np.full((16, 24), 3), classes=5).shape == (5, 16, 24)


def test_a_network_with_hidden_maps_is_no_refiner():
    with pytest.raises(ValueError, match="use hidden=None"):
        Refiner(trained(num_classes=3, hidden=4))


# Parts


def test_hints_do_not_depend_on_absent_classes():
    shares = torch.rand(2, 4, 6, 6).softmax(dim=1)
    padded = torch.cat([shares, torch.zeros(2, 9, 6, 6)], dim=1)
    names = ("entropy", "confidence")
    expected = hint_maps([shares], names)
    torch.testing.assert_close(hint_maps([padded], names), expected)
    torch.testing.assert_close(hint_maps(padded.split(2, dim=1), names), expected)
    torch.testing.assert_close(expected[:, 1], shares.amax(dim=1))
    uniform = torch.full((1, 5, 1, 1), 0.2)
    torch.testing.assert_close(hint_maps([uniform], names).flatten(), torch.tensor([0.8, 0.2]))


def test_paths_are_not_images(refiner):
    for given in (("photo.jpg", COARSE), (IMAGE, "mask.png")):
        with pytest.raises(InputError, match=r"must be an array, got the path '(photo.jpg|mask.png)'"):
            refiner(*given)


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_are_not_probabilities(refiner, channels):
    colours = np.zeros((16, 24, channels), np.uint8)
    colours[4:9, 5:20] = 200
    with pytest.raises(InputError, match=r"must sum to one .* colours must be made into labels"):
        refiner(IMAGE, colours)


def test_bytes_that_were_cut_off_are_probabilities(refiner):
    shares = np.full((150, 16, 24), 1 / 150, np.float32) + probabilities(150, 16, 24) / 20
    cut_off = (shares / shares.sum(axis=0) * 255).astype(np.uint8)
    assert cut_off.sum(axis=0).max() < 0.75 * 255
    np.testing.assert_array_equal(refiner(IMAGE, cut_off), refiner(IMAGE, cut_off.astype(np.float32) / 255))
