"""Reading a map at the middles of the cells of its image."""

import pytest
import torch

from spatialprop.nn.segmenters.cells import read_at_cells


def test_samples_in_the_middle_of_their_cells_stay_what_they_are():
    scores = torch.randn(2, 3, 4, 5)
    assert torch.equal(read_at_cells(scores, (32, 40), (4, 5), first=3.5, step=8), scores)


@pytest.mark.parametrize("size", [(32, 40), (27, 35), (1, 3)])
@pytest.mark.parametrize(("first", "step"), [(3.5, 8), (-4, 8), (0, 8), (7.5, 16)])
def test_a_plane_is_read_at_the_middles_and_held_at_its_ends(size, first, step):
    rows, columns = (first + step * torch.arange(8, dtype=torch.float64) for _ in range(2))
    plane = rows[:, None] + 100 * columns
    cells = tuple(-(-side // 8) for side in size)
    middles = [(torch.arange(count) + 0.5) * side / count - 0.5 for side, count in zip(size, cells, strict=True)]
    y, x = (middle.double().clamp(first, first + 7 * step) for middle in middles)
    read = read_at_cells(plane[None, None], size, cells, first=first, step=step)
    torch.testing.assert_close(read[0, 0], y[:, None] + 100 * x)


def test_gradient_comes_back():
    scores = torch.randn(1, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda scores: read_at_cells(scores, (19, 30), (3, 4), first=-4, step=8), scores)
