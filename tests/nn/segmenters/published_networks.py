"""The published networks as plain functions of their own tensors, and the names and shapes of these.

An independent reading, to hold the modules against: paddings, dilations and crops stand here as they were published.
What goes in has the colours of the published network already.
"""

from pathlib import Path

import torch
from torch.nn import functional as F

BLOCKS = ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3))


def table(name):
    """The names and shapes that a published file holds."""
    lines = (Path(__file__).parent / "published" / f"{name}.txt").read_text().splitlines()[1:]
    return {key: tuple(map(int, shape)) for key, *shape in map(str.split, lines)}


def convolve(state, name, x, **options):
    return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)


def fcn8s(state, x):
    """Scores at an eighth: sample i is at pixel 8 i - 23.5."""
    pools = {}
    for block, convolutions in BLOCKS:
        for number in range(1, convolutions + 1):
            name = f"conv{block}_{number}"
            x = F.relu(convolve(state, name, x, padding=100 if name == "conv1_1" else 1))
        pools[block] = x = F.max_pool2d(x, 2, ceil_mode=True)
    x = F.relu(convolve(state, "fc6", x))
    x = convolve(state, "score_fr", F.relu(convolve(state, "fc7", x)))
    for block, layer, crop in ((4, "upscore2", 5), (3, "upscore_pool4", 9)):
        x = F.conv_transpose2d(x, state[f"{layer}.weight"], stride=2)
        skip = convolve(state, f"score_pool{block}", pools[block])
        x = x + skip[..., crop : crop + x.shape[2], crop : crop + x.shape[3]]
    return x


def deeplab_vgg(state, x):
    """Scores at an eighth: sample i is at pixel 8 i."""
    for block, convolutions in BLOCKS:
        dilation = 2 if block == 5 else 1
        for number in range(1, convolutions + 1):
            x = F.relu(convolve(state, f"conv{block}_{number}", x, padding=dilation, dilation=dilation))
        x = F.max_pool2d(x, 3, stride=2 if block < 4 else 1, padding=1)
    scores = 0
    for branch, dilation in ((1, 6), (2, 12), (3, 18), (4, 24)):
        y = F.relu(convolve(state, f"fc6_{branch}", x, padding=dilation, dilation=dilation))
        scores = scores + convolve(state, f"fc8_voc12_{branch}", F.relu(convolve(state, f"fc7_{branch}", y)))
    return scores


def deeplab_resnet101(state, x):
    """Scores at an eighth at one scale: sample i is at pixel 8 i."""

    def unit(name, x, **options):
        x = convolve(state, f"{name}.conv", x, **options)
        norm = (state[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *norm, eps=1e-5)

    x = F.max_pool2d(F.relu(unit("base.layer1.conv1", x, stride=2, padding=3)), 3, 2, 1, ceil_mode=True)
    for layer, blocks, stride, dilation in ((2, 3, 1, 1), (3, 4, 2, 1), (4, 23, 1, 2), (5, 3, 1, 4)):
        for block in range(1, blocks + 1):
            name, step = f"base.layer{layer}.block{block}", stride if block == 1 else 1
            y = F.relu(unit(f"{name}.reduce", x, stride=step))
            y = F.relu(unit(f"{name}.conv3x3", y, padding=dilation, dilation=dilation))
            shortcut = unit(f"{name}.shortcut", x, stride=step) if block == 1 else x
            x = F.relu(unit(f"{name}.increase", y) + shortcut)
    return sum(
        convolve(state, f"base.aspp.c{branch}", x, padding=dilation, dilation=dilation)
        for branch, dilation in enumerate((6, 12, 18, 24))
    )


def front_end(state, x):
    """Scores at an eighth of what is left without a margin of 186 pixels: sample i is at pixel 8 i + 189.5."""
    for block, convolutions in BLOCKS:
        for number in range(1, convolutions + 1):
            x = F.relu(convolve(state, f"conv{block}_{number}", x, dilation=2 if block == 5 else 1))
        x = F.max_pool2d(x, 2) if block < 4 else x
    x = F.relu(convolve(state, "fc6", x, dilation=4))
    return convolve(state, "fc-final", F.relu(convolve(state, "fc7", x)))


def context(state, x):
    """The front end and the context module on its scores."""
    x = F.pad(front_end(state, x), (33,) * 4)
    layers = (
        ("conv1_1", 1),
        ("conv1_2", 1),
        ("conv2_1", 2),
        ("conv3_1", 4),
        ("conv4_1", 8),
        ("conv5_1", 16),
        ("fc1", 1),
    )
    for layer, dilation in layers:
        x = F.relu(convolve(state, f"ct_{layer}", x, dilation=dilation))
    return convolve(state, "ct_final", x)


def random_state(module, key_map):
    """Random tensors under the published names, in the shapes of a thin `module`."""
    generator = torch.Generator().manual_seed(0)
    own = module.state_dict()
    state = {}
    for name, target in key_map.items():
        if target is None:
            continue
        tensor = own[target]
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith(("running_var", "bn.weight")):
            state[name] = torch.rand(tensor.shape, generator=generator) + 0.5
        else:
            scale = (2 / tensor[0].numel()) ** 0.5 if tensor.dim() == 4 else 0.1
            state[name] = torch.randn(tensor.shape, generator=generator) * scale
    return state
