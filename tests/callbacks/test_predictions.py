"""Predictions as palette PNGs, read again."""

import numpy as np
import torch
from PIL import Image

from spatialprop.callbacks import SavePredictions
from spatialprop.drawing import class_colours
from tests.tasks.tiny import QUIET, TASKS, loader, make_trainer, sample

pytestmark = QUIET


def test_every_method_and_image_gets_a_picture(tmp_path):
    task = TASKS["refine"]().eval()
    make_trainer(SavePredictions(tmp_path)).test(task, loader(1, (35, 42)), verbose=False)
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    methods = ("coarse", "refined", "oracle_8px")
    assert written == {f"{method}/shapes/{index}.png" for method in methods for index in range(2)}
    for index in range(2):
        given = sample(index, 35, 42)
        with torch.no_grad():
            refined = task(given["image"][None], given["coarse"][None])[0]
        for method, scores in (("coarse", given["coarse"]), ("refined", refined)):
            with Image.open(tmp_path / method / "shapes" / f"{index}.png") as picture:
                assert picture.mode == "P"
                assert np.array_equal(np.asarray(picture), scores.argmax(0).numpy())


def test_colours_are_those_of_pascal_voc(tmp_path):
    labels = torch.arange(256).clamp(max=254).reshape(1, 16, 16)
    outputs, batch = {"labels": {"refined": labels}}, {"name": ["all"]}
    SavePredictions(tmp_path).on_test_batch_end(None, None, outputs, batch, 0)
    with Image.open(tmp_path / "refined" / "all.png") as picture:
        assert np.array_equal(np.asarray(picture), labels[0].numpy())
        colours = np.asarray(picture.convert("RGB")).reshape(256, 3)
    assert np.array_equal(colours[:255], class_colours()[:255])
    assert colours[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert colours[15].tolist() == [192, 128, 128]  # "person"
