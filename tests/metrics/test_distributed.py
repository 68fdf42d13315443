"""Several processes compute what one process does, every image counted once."""

import subprocess
import sys
from pathlib import Path

import torch

from tests.metrics import one_process
from tests.metrics.maps import make_maps

IMAGES = (5, 1)  # shares of three and of two images, and of one and of none


def test_two_gloo_processes_score_as_one(tmp_path):
    sets = [make_maps(0, batch=images, height=60, width=70, num_classes=11, present=10) for images in IMAGES]
    torch.save([(maps.pred, maps.target) for maps in sets], tmp_path / "maps.pt")
    arguments = [str(tmp_path / "meeting"), str(tmp_path / "maps.pt")]
    workers = [
        subprocess.Popen(
            [sys.executable, str(Path(one_process.__file__)), str(rank), "2", *arguments, str(tmp_path / f"{rank}.pt")],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for worker in workers:
            _, errors = worker.communicate(timeout=240)
            assert worker.returncode == 0, errors
    finally:
        for worker in workers:
            worker.kill()
    one_process.main(0, 1, *arguments, str(tmp_path / "alone.pt"))

    alone = torch.load(tmp_path / "alone.pt")
    for images, scores in zip(IMAGES, alone, strict=True):
        assert 0 < scores["method"]["mIoU"] < 1
        assert len(scores["effects"]["pixels"]) == images
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), alone, rtol=0, atol=0, equal_nan=True)
