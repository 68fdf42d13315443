"""From a run to the files that VOC's evaluation server takes, on an imitation of the data set."""

import tarfile

import pytest
import torch
from safetensors.torch import save_file

from spatialprop.cli import main as spatialprop
from spatialprop.experiment.evaluation import evaluate
from spatialprop.experiment.training import train
from spatialprop.nn.segmenters import UNet
from tests.data.sets.test_voc import VOC_TEST, write_voc
from tests.experiment.tiny import QUIET, TINY, composed

pytestmark = [*QUIET, pytest.mark.slow]


def test_images_without_labels_are_refined_and_packed(tmp_path):
    """No label of the test split counts: nothing can be scored, and nothing must fail for it."""
    write_voc(tmp_path / "voc")
    torch.manual_seed(0)
    save_file(UNet(21, width=4, depth=2).state_dict(), tmp_path / "unet.safetensors")
    own = ["data=voc", f"data.root={tmp_path / 'voc'}", "data.test_split=test"]
    network = ["segmenter.network.width=4", "segmenter.network.depth=2"]
    made = [*own, *network, f"segmenter.checkpoint={tmp_path / 'unet.safetensors'}"]
    assert spatialprop(["data", "predict", *made, "--to", str(tmp_path / "coarse")]) == 0

    kept = [option for option in TINY if option.split(".")[0] not in ("data", "segmenter", "trainer")]
    read = [f"data.coarse={tmp_path / 'coarse'}", "segmenter=files"]
    trainer = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "trainer.deterministic=false"]
    loader = ["loader.batch_size=2", "trainer.log_every_n_steps=1"]
    train(composed("train", *kept, *trainer, *loader, "data=voc", own[1], *read), tmp_path / "run")

    given = [f"run={tmp_path / 'run'}", *own, *read, "predictions=true", "restrict=true", "workers=0"]
    metrics = evaluate(composed("evaluate", *given, "callbacks.progress_bar=false"), tmp_path / "scored")
    assert metrics["refined"]["mIoU"] is None
    assert (tmp_path / "scored" / "report.html").is_file()

    predictions = str(tmp_path / "scored" / "predictions" / "refined")
    results = ["--predictions", predictions, "--to", str(tmp_path / "results")]
    assert spatialprop(["data", "submit", "voc", f"root={tmp_path / 'voc'}", *results]) == 0
    with tarfile.open(tmp_path / "results" / "results.tgz") as tar:
        assert tar.getnames() == [f"results/VOC2012/Segmentation/comp6_test_cls/{VOC_TEST[0]}.png"]
