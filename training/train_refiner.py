"""Train a refinement network, from nothing or on from where it stopped.

usage: train_refiner.py RUN [options]       RUN is a folder; the same command again goes on from its last checkpoint
       torchrun --nproc-per-node N train_refiner.py RUN [options]      N processes, each with a batch of its own
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from samples import MIXTURES, Patches, collate
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from spatialprop.data import VOID
from spatialprop.nn.trusting import TrustingNetwork
from spatialprop.tasks.muon import Muon

EVERY = 100  # steps from one line of the log to the next


def make(settings: dict[str, object]) -> nn.Module:
    """The network of some settings."""
    first = settings.get("first")
    return TrustingNetwork(**settings | ({"first": make(first)} if isinstance(first, dict) else {}))  # type: ignore[arg-type]


def load(path: Path, average: bool = True) -> nn.Module:
    """A trained network."""
    kept = torch.load(path, weights_only=True)
    network = make(json.loads(kept["network_settings"]))
    network.load_state_dict(kept["average" if average else "network"])
    return network.eval()


def take(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Take those weights that fit, by name and shape: what another network has learned is a start.

    Where a convolution is shown more than it was, the weights of what is new are nothing.
    """
    own, taken = network.state_dict(), {}
    for name, one in weights.items():
        room = own.get(name)
        if room is None or len(room) != len(one) or room.shape[2:] != one.shape[2:]:
            continue
        if room.shape != one.shape:
            one = torch.cat([one, one.new_zeros(len(one), room.shape[1] - one.shape[1], *one.shape[2:])], dim=1)
        taken[name] = one
    network.load_state_dict(taken, strict=False)
    print(f"{len(taken)} of {len(own)} tensors taken, new are {sorted(own.keys() - taken.keys())}", flush=True)


def losses(refined: Tensor, coarse: Tensor, label: Tensor, wrong: float, small: float) -> Tensor:
    """Negative log-likelihood of each patch, (N,).

    Pixels count more near true borders, `small` more in what is thin or small, and `wrong` more where the coarse map is
    wrong: that makes for a signal early on, and later for too many changes.
    """
    known = label != VOID
    nll = F.nll_loss(refined, label.clamp_max(refined.shape[1] - 1), reduction="none")
    as_float = label[:, None].float()

    def varies(side: int) -> Tensor:
        return F.max_pool2d(as_float, side, 1, side // 2) + F.max_pool2d(-as_float, side, 1, side // 2) != 0

    near = varies(7)[:, 0]
    # What no window of nine pixels that shows one label alone reaches.
    thin = F.max_pool2d((~varies(9)).float(), 9, 1, 4)[:, 0] == 0
    mistaken = coarse.argmax(dim=1) != label
    weight = (1.0 + 2.0 * near + small * thin + wrong * mistaken) * known
    return (nll * weight).sum(dim=(1, 2)) / weight.mean().clamp_min(1e-3) / nll[0].numel()


def refine(network: nn.Module, image: Tensor, coarse: Tensor) -> Tensor:
    """Refined log-probabilities."""
    hints = network.hints(image, coarse)
    return network.refine(coarse, network.guide(network.raw(*hints)), image.shape[-2:])


def in_bfloat16(network: nn.Module) -> None:
    """Let the guidance network, which takes most of the time, compute in bfloat16."""
    exact = network.guidance.forward

    def forward(half: Tensor, quarter: Tensor) -> Tensor:
        with torch.autocast(half.device.type, torch.bfloat16):
            return exact(half, quarter).float()

    network.guidance.forward = forward


def rate(step: int, given: argparse.Namespace) -> float:
    """Rises for `warm` steps, stays, and falls to nothing over the last `fall` share of all steps."""
    return given.lr * min(1.0, (step + 1) / given.warm) * remaining(step, given)


def remaining(step: int, given: argparse.Namespace) -> float:
    """One, and falling to nothing over the last `fall` share of all steps."""
    return max(0.02, min(1.0, (given.steps - step) / max(1, given.steps * given.fall)))


class Part(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """The patches of one process from some step on."""

    def __init__(self, patches: Patches, batch: int, first: int, last: int, rank: int, processes: int) -> None:
        self.patches, self.batch, self.first, self.last = patches, batch, first, last
        self.rank, self.processes = rank, processes

    def __len__(self) -> int:
        return (self.last - self.first) * self.batch

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        step, place = divmod(index, self.batch)
        return self.patches[((self.first + step) * self.processes + self.rank) * self.batch + place]


def average_gradients(network: nn.Module, processes: int) -> None:
    """The mean over all processes."""
    gradients = [one.grad for one in network.parameters() if one.grad is not None]
    flat = torch.cat([one.flatten() for one in gradients])
    dist.all_reduce(flat)
    for one, part in zip(gradients, flat.div_(processes).split([one.numel() for one in gradients]), strict=True):
        one.copy_(part.view_as(one))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--packed", type=Path, default=Path("packed"))
    parser.add_argument("--sets", choices=tuple(MIXTURES), default="research", help="which sets patches are made of")
    parser.add_argument("--network", default="{}", help="settings of TrustingNetwork as JSON")
    parser.add_argument("--weights-of", type=Path, help="a checkpoint; its weights are taken where they fit")
    parser.add_argument("--after", type=Path, help="a checkpoint for `first` in the settings; it stays as it is")
    parser.add_argument("--thin", type=float, default=2.0, help="additional weight of what is thin or small")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--until", type=int, help="stop here, with the plan for all steps")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="muon")
    parser.add_argument("--warm", type=int, default=100)
    parser.add_argument("--fall", type=float, default=0.3)
    parser.add_argument("--average", type=float, default=0.998)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--wrong", type=float, default=1.0, help="additional weight of wrong pixels; falls too")
    parser.add_argument("--exact", action="store_true", help="no bfloat16 in the guidance network")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="processes that make patches")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--keep", type=float, default=300, help="seconds between checkpoints")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if processes > 1:
        dist.init_process_group("gloo")
    given.run.mkdir(parents=True, exist_ok=True)
    device = torch.device(given.device)
    network = make(json.loads(given.network)).to(device)
    if given.weights_of:
        take(network, torch.load(given.weights_of, map_location=device, weights_only=True)["average"])
    if given.after:
        network.first.load_state_dict(torch.load(given.after, map_location=device, weights_only=True)["average"])
        network.first.requires_grad_(False)
    average = make(json.loads(given.network)).to(device).requires_grad_(False)
    average.load_state_dict(network.state_dict())
    if not given.exact:
        for one in (network, network.first):
            if one is not None:
                in_bfloat16(one)
    learned = [one for one in network.parameters() if one.requires_grad]
    matrices = [one for one in learned if one.dim() > 1]
    others = [one for one in learned if one.dim() <= 1]
    optimizers: list[torch.optim.Optimizer]
    if given.optimizer == "muon":
        head = [network.guidance.head.weight]
        matrices = [one for one in matrices if one is not head[0]]
        optimizers = [
            Muon(matrices, lr=given.lr),
            torch.optim.AdamW(others + head, lr=given.lr, weight_decay=0, betas=(0.9, 0.98), fused=True),
        ]
    else:
        groups = [{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
        optimizers = [torch.optim.AdamW(groups, lr=given.lr, betas=(0.9, 0.98), fused=True)]
    step, last = 0, given.run / "last.pt"
    if last.exists():
        kept = torch.load(last, map_location=device, weights_only=True)
        step = kept["step"]
        network.load_state_dict(kept["network"])
        average.load_state_dict(kept["average"])
        for optimizer, state in zip(optimizers, kept["optimizers"], strict=True):
            optimizer.load_state_dict(state)
    until = min(given.steps, given.until or given.steps)
    patches = Patches(given.packed, given.size, given.seed, mixture=MIXTURES[given.sets])
    rest = Part(patches, given.batch, step, until, rank, processes)
    loader = DataLoader(rest, given.batch, num_workers=given.workers, collate_fn=collate, prefetch_factor=6)

    def keep() -> None:
        torch.save(
            {
                "step": step,
                "network": network.state_dict(),
                "average": average.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                "network_settings": given.network,
                "arguments": json.dumps({key: str(value) for key, value in vars(given).items()}),
            },
            last.with_suffix(".part"),
        )
        last.with_suffix(".part").replace(last)

    started = kept_at = time.time()
    sums, waited = np.zeros((2, 2)), 0.0
    before = time.time()
    for image, coarse, label in loader:
        waited += time.time() - before
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate(step, given)
        image, coarse, label = (one.to(device, non_blocking=True) for one in (image, coarse, label))
        image = image.float() / 255
        certain = coarse.amax(dim=1).amin(dim=(1, 2)) > 0.999
        refined = refine(network, image, coarse)
        each = losses(refined, coarse, label, given.wrong * (0.4 + 0.6 * remaining(step, given)), given.thin)
        loss = each.mean()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        if processes > 1:
            average_gradients(network, processes)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        step += 1
        blend = min(given.average, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - blend)
        for kind, some in enumerate((certain, ~certain)):
            sums[kind] += [float(each.detach()[some].sum()), int(some.sum())]
        if step % EVERY == 0:
            masks, shares = sums[:, 0] / sums[:, 1].clip(1)
            spent = time.time() - started
            text = f"{step} masks {masks:.4f} probabilities {shares:.4f} {spent:.0f} s waited {waited:.0f} s"
            sums[:] = 0
            if rank == 0:
                print(text, flush=True)
                with open(given.run / "log.txt", "a") as log:
                    print(text, file=log)
        if rank == 0 and time.time() - kept_at > given.keep:
            keep()
            kept_at = time.time()
        before = time.time()
    if rank == 0:
        keep()
    if processes > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
