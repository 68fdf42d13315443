"""`neighbour_labels` compared with its definition pixel by pixel, and the symmetry of pairs."""

import pytest
import torch

from spatialprop.ops import neighbour_labels
from spatialprop.ops.spreading.pairs import neighbour_offsets, neighbours
from tests.cases import LAYOUTS
from tests.spread_cases import NEIGHBOURHOODS, neighbour_labels_by_pixel, neighbours_in_words

INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]


def random_labels(*shape, dtype=torch.int64, ignored=255):
    labels = torch.randint(0, 4, shape, generator=torch.Generator().manual_seed(0))
    return labels.masked_fill(labels == 3, ignored).to(dtype)


@pytest.mark.parametrize("ignore_index", [255, 0, None])
@pytest.mark.parametrize(("size", "dilations", "kernel"), NEIGHBOURHOODS[:-2], ids=str)
def test_definition_pixel_by_pixel(size, dilations, kernel, ignore_index):
    labels = random_labels(2, *size)
    pairs = neighbour_labels(labels, dilations, kernel, ignore_index)
    assert pairs.dtype == torch.int8
    assert torch.equal(pairs, neighbour_labels_by_pixel(labels, dilations, kernel, ignore_index))


def test_order_of_neighbours():
    labels = torch.arange(25).view(1, 5, 5)
    labels[0, 0, 2] = labels[0, 2, 3] = labels[0, 2, 2]  # two above, and one to the right
    pairs = neighbour_labels(labels, [2, 1])[0, :, 2, 2]
    assert pairs.tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_any_integers(dtype):
    labels = random_labels(1, 6, 7, ignored=100, dtype=dtype)
    assert torch.equal(
        neighbour_labels(labels, [1, 2], ignore_index=100), neighbour_labels(labels.long(), [1, 2], 3, 100)
    )


def test_label_to_ignore_may_not_fit_the_type():
    labels = torch.full((1, 2, 2), -1, dtype=torch.int8)  # the bits of 255
    assert neighbour_labels(labels, [1])[0, 4, 0, 0] == 1


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if "stepped" not in name and "offset" not in name])
def test_any_strides(layout):
    labels = LAYOUTS[layout](random_labels(3, 6, 7))
    assert torch.equal(neighbour_labels(labels, [1, 3]), neighbour_labels(labels.contiguous(), [1, 3]))


@pytest.mark.parametrize(("dilations", "kernel"), [([1, 2, 4], 3), ([1, 3], 5)])
def test_both_ends_of_a_pair_say_the_same(dilations, kernel):
    labels = random_labels(2, 11, 13)
    pairs = neighbour_labels(labels, dilations, kernel)
    offsets = neighbours_in_words(dilations, kernel)
    for k, (down, right) in enumerate(offsets):
        back = offsets.index((-down, -right))
        for i in range(max(0, -down), min(11, 11 - down)):
            for j in range(max(0, -right), min(13, 13 - right)):
                assert torch.equal(pairs[:, k, i, j], pairs[:, back, i + down, j + right])


def test_labels_are_not_written_to():
    labels = random_labels(1, 5, 6)
    before = labels.clone()
    neighbour_labels(labels, [1])
    assert torch.equal(labels, before)


@pytest.mark.parametrize("size", [(4, 4), (1, 6), (7, 1)])
@pytest.mark.parametrize("dilation", [3, 4, 5, 6, 7, 20_000])
def test_dilations_beyond_the_image_cost_no_memory(size, dilation):
    labels = random_labels(1, *size)
    pairs = neighbour_labels(labels, [1, dilation])
    assert torch.equal(pairs, neighbour_labels_by_pixel(labels, [1, dilation], 3, 255))
    found = neighbours(labels, neighbour_offsets([1, dilation], 3))
    assert all(image.untyped_storage().nbytes() <= 9 * labels.nbytes for image in found)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("dilations", [[1, 2], [1, 20]], ids=str)
def test_compile_and_export(dilations):
    torch.compiler.reset()
    labels = random_labels(2, 9, 10)
    expected = neighbour_labels(labels, dilations)
    function = torch.compile(lambda labels: neighbour_labels(labels, dilations), fullgraph=True, backend="aot_eager")
    assert torch.equal(function(labels), expected)

    class Pairs(torch.nn.Module):
        def forward(self, labels):
            return neighbour_labels(labels, dilations)

    shapes = ({axis: torch.export.Dim(name, min=2, max=256) for axis, name in enumerate(("batch", "height", "width"))},)
    program = torch.export.export(Pairs(), (labels,), dynamic_shapes=shapes)
    for other in (random_labels(3, 17, 5), random_labels(1, 24, 30)):
        assert torch.equal(program.module()(other), neighbour_labels(other, dilations))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"labels": [[0]]}, TypeError, r"labels must be a torch\.Tensor; got list"),
        ({"labels": torch.zeros(1, 2, 2)}, TypeError, r"integers; got torch\.float32\. Convert with \.long\(\)"),
        ({"labels": torch.zeros(1, 2, 2, dtype=torch.bool)}, TypeError, r"integers; got torch\.bool"),
        ({"labels": torch.zeros(2, 2).long()}, ValueError, r"\(N, H, W\); got 2 dimensions, \(2, 2\)"),
        ({"labels": torch.zeros(1, 0, 2).long()}, ValueError, r"must not be empty.*got \(1, 0, 2\)"),
        ({"dilations": 2}, TypeError, r"sequence of integers; got 2\. One dilation d is written \[d\]"),
        ({"dilations": "12"}, TypeError, r"sequence of integers; got '12'"),
        ({"dilations": [1.0]}, TypeError, r"must be integers; got \(1\.0,\)"),
        ({"dilations": []}, ValueError, r"one or more distinct integers from 1 up; got \(\)"),
        ({"dilations": [1, 0]}, ValueError, r"from 1 up; got \(1, 0\)"),
        ({"dilations": [2, 2]}, ValueError, r"distinct integers from 1 up; got \(2, 2\)"),
        ({"kernel": 4}, ValueError, r"kernel must be odd and at least 3.*got 4"),
        ({"kernel": 1}, ValueError, r"kernel must be odd and at least 3.*got 1"),
        ({"kernel": 3.0}, TypeError, r"kernel must be an integer; got 3\.0"),
        ({"ignore_index": "255"}, TypeError, r"integer, or None if all pixels count; got '255'"),
        ({"ignore_index": 1.5}, TypeError, r"integer, or None if all pixels count; got 1\.5"),
        ({"ignore_index": True}, TypeError, r"integer, or None if all pixels count; got True"),
    ],
)
def test_wrong_input(wrong, error, message):
    with pytest.raises(error, match=message):
        neighbour_labels(**{"labels": torch.zeros(1, 2, 2).long(), "dilations": [1], **wrong})
