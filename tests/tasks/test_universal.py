"""Refinements side by side."""

import pytest
import torch
from torch import nn

from spatialprop.tasks import Parts, Refine, Universal
from tests.tasks.tiny import LABELS, make


class AlwaysBar(nn.Module):
    def forward(self, image, coarse):
        return torch.tensor([0.1, 0.2, 0.7]).log().reshape(1, 3, 1, 1).expand_as(coarse)


@pytest.mark.parametrize("restrict", [True, False])
def test_refinements_and_baselines_are_restricted_alike(restrict):
    """Or one side would be kept from mistakes that the other may make."""

    def take_the_last(image, probabilities):
        return (probabilities > 0).cumsum(0).argmax(0)

    refinement = make(Refine, AlwaysBar(), restrict=restrict)
    task = Universal(Parts(LABELS, baselines={"theirs": take_the_last}), {"ours": refinement})
    coarse = torch.tensor([0.5, 0.4, 0.1]).reshape(1, 3, 1, 1).repeat(1, 1, 8, 8)  # bar is nowhere the most likely
    coarse[..., :4] = torch.tensor([0.2, 0.7, 0.1]).reshape(3, 1, 1)
    batch = {"image": torch.rand(1, 3, 8, 8), "coarse": coarse, "label": torch.zeros(1, 8, 8, dtype=torch.int64)}
    outputs = task.eval().test_step(batch, 0)
    for method in ("ours", "theirs"):
        assert outputs["labels"][method].unique().tolist() == [1 if restrict else 2], method
    assert torch.equal(outputs["coarse"], coarse)
