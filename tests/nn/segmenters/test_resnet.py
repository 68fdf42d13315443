"""The trunk of ResNet-101: where it strides and what its batch norm learns."""

import pytest
import torch

from spatialprop.nn.segmenters.resnet import ResNet101Trunk


@pytest.mark.parametrize("train_statistics", [False, True])
@torch.no_grad()
def test_batch_norm_keeps_its_statistics_unless_asked(train_statistics):
    torch.manual_seed(0)
    trunk = ResNet101Trunk(width=1, train_statistics=train_statistics).train()
    trunk(torch.rand(2, 3, 33, 33))
    assert trunk.training
    assert trunk.bn1.running_mean.any() == train_statistics


def test_stages_stride_and_dilate_as_published():
    with torch.device("meta"):
        trunk = ResNet101Trunk()
        maps = [trunk.layer1(torch.empty(1, 64, 81, 81))]  # of an image of 321 x 321
        for stage in (trunk.layer2, trunk.layer3, trunk.layer4):
            maps.append(stage(maps[-1]))
        assert trunk(torch.empty(1, 3, 321, 321)).shape == maps[-1].shape
    assert [tuple(x.shape[1:]) for x in maps] == [(256, 81, 81), (512, 41, 41), (1024, 41, 41), (2048, 41, 41)]
    dilations = [{block.conv2.dilation[0] for block in stage} for stage in (trunk.layer3, trunk.layer4)]
    assert dilations == [{2}, {4}]
    assert (trunk.layer2[0].conv1.stride, trunk.layer2[0].conv2.stride) == ((2, 2), (1, 1))


def test_width_is_checked():
    with pytest.raises(ValueError, match="width must be at least 1; got 0"):
        ResNet101Trunk(width=0)
