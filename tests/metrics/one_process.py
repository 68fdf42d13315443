"""Score one process's share of some sets, as one of several gloo processes or alone, and save the scores.

python one_process.py RANK PROCESSES MEETING_POINT MAPS RESULT
"""

import sys

import torch

from spatialprop.metrics import (
    AffinityScores,
    ErrorRegions,
    HelenFScores,
    ImageEffects,
    MethodScores,
    RefinementChanges,
)
from spatialprop.ops import neighbour_labels


def main(rank: int, processes: int, meeting_point: str, maps: str, result: str) -> None:
    if processes > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=processes
        )
    torch.save([scores(rank, processes, images) for images in torch.load(maps)], result)
    if processes > 1:
        torch.distributed.destroy_process_group()


def scores(rank: int, processes: int, images: tuple[torch.Tensor, torch.Tensor]) -> dict[str, dict]:
    """All metrics of this process's share of label maps, predicted and true (N, H, W), gathered from all processes."""
    method = MethodScores(11, ignore_index=255, scored_classes=[1, 2, 5])
    changes, helen, regions = RefinementChanges(255), HelenFScores(255), ErrorRegions(255)
    affinity, effects = AffinityScores((1, 3)), ImageEffects(255)
    for pred, target in list(zip(*images, strict=True))[rank::processes]:
        pred, target = pred.unsqueeze(0), target.unsqueeze(0)
        method.update(pred, target)
        changes.update(pred, pred.roll(1, dims=2), target)
        helen.update(pred, target)
        regions.update(pred, pred.roll(1, dims=2), target)
        truth = neighbour_labels(target, (1, 3))
        said = neighbour_labels(pred, (1, 3)).clamp_min(0).float()
        willing = 0.2 + 0.5 * said + 0.1 * (truth == 1)
        affinity.update(willing, truth, (neighbour_labels(target, (1,), 5) == 0).any(1))
        effects.update(pred, pred.roll(1, dims=2), target, willing, truth)
    metrics = {
        "method": method,
        "changes": changes,
        "helen": helen,
        "regions": regions,
        "affinity": affinity,
        "effects": effects,
    }
    return {name: metric.compute() for name, metric in metrics.items()}


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
