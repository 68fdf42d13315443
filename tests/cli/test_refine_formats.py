"""`spatialprop refine` on annotations and rasters, through pipes, in shards, and what it says as JSON."""

import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from spatialprop.cli import main
from spatialprop.refiner import save_refiner
from tests.refiner.networks import photograph, trained

HEIGHT, WIDTH = 60, 80


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_refiner(trained(), path)
    return str(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Four photographs with masks and with annotations."""
    monkeypatch.chdir(tmp_path)
    coco = {"images": [], "annotations": [], "categories": []}
    for place in ("photos", "masks", "labels"):
        (tmp_path / place).mkdir()
    for number in range(4):
        Image.fromarray(photograph(HEIGHT, WIDTH, number)).save(tmp_path / "photos" / f"{number}.png")
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[15:45, 20:60] = 1
        Image.fromarray(mask).save(tmp_path / "masks" / f"{number}.png")
        (tmp_path / "labels" / f"{number}.txt").write_text("0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n")
        coco["images"].append({"id": number, "file_name": f"{number}.png", "height": HEIGHT, "width": WIDTH})
        ring = [20, 15, 60, 15, 60, 45, 20, 45]
        coco["annotations"].append({"id": number, "image_id": number, "category_id": 1, "segmentation": [ring]})
    (tmp_path / "a.json").write_text(json.dumps(coco))
    return tmp_path


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_coco(folder, weights, capsys):
    pytest.importorskip("pycocotools")
    command = ["refine", "--coco", "a.json", "photos", "--weights", weights, "--json"]
    assert main([*command, "-o", "b.json"]) == 0
    found = lines(capsys)
    assert [one["source"] for one in found] == [f"{number}.png" for number in range(4)]
    assert all(one["milliseconds"] > 0 and "1 objects refined" in one["done"] for one in found)
    refined = json.loads((folder / "b.json").read_text())
    assert all(one["area"] > 0 for one in refined["annotations"])
    # The shards together are the whole.
    parts = []
    for number in (1, 2):
        assert main([*command, "-o", f"part{number}.json", "--shard", f"{number}/2"]) == 0
        parts += json.loads((folder / f"part{number}.json").read_text())["annotations"]
    assert sorted(parts, key=lambda one: one["id"]) == refined["annotations"]
    assert main([*command, "-o", "a.json"]) == 2
    assert "another .json file" in capsys.readouterr().err


def test_coco_with_an_image_that_is_missing(folder, weights, capsys):
    pytest.importorskip("pycocotools")
    (folder / "photos" / "2.png").unlink()
    command = ["refine", "--coco", "a.json", "photos", "-o", "b.json", "--weights", weights]
    assert main([*command, "--dry-run"]) == 1
    said = capsys.readouterr()
    assert "3 would be refined" in said.out
    assert not (folder / "b.json").exists()
    assert main(command) == 1
    said = capsys.readouterr()
    assert "2.png does not exist" in said.err
    assert "3 refined, 0 there already, 1 failed" in said.out
    given, refined = (json.loads((folder / name).read_text())["annotations"] for name in ("a.json", "b.json"))
    assert [old == new for old, new in zip(given, refined, strict=True)] == [False, False, True, False]


def test_yolo(folder, weights, capsys):
    (folder / "labels" / "alone.txt").write_text("")
    command = ["refine", "--yolo", "photos", "labels", "-o", "out", "--weights", weights]
    assert main(command) == 1
    assert "holds no image of that name" in capsys.readouterr().err
    assert sorted(path.name for path in (folder / "out").iterdir()) == [f"{number}.txt" for number in range(4)]
    assert (folder / "out" / "0.txt").read_text().startswith("0 0.")


def test_a_raster(folder, weights, capsys):
    rasterio = pytest.importorskip("rasterio")
    for name, values in (
        ("photo", photograph(HEIGHT, WIDTH).transpose(2, 0, 1)),
        ("mask", np.zeros((1, HEIGHT, WIDTH))),
    ):
        values = values.astype(np.uint8)
        values[0, 15:45, 20:60] = 1
        profile = {"count": len(values), "height": HEIGHT, "width": WIDTH, "dtype": "uint8", "crs": "EPSG:3035"}
        transform = rasterio.Affine(10.0, 0, 4e6, 0, -10.0, 3e6)
        with rasterio.open(folder / f"{name}.tif", "w", driver="GTiff", transform=transform, **profile) as file:
            file.write(values)
    assert main(["refine", "--raster", "photo.tif", "mask.tif", "-o", "out.tif", "--weights", weights, "--json"]) == 0
    assert lines(capsys)[0]["done"] == "1 of 1 windows refined"
    with rasterio.open(folder / "out.tif") as file:
        assert file.crs.to_epsg() == 3035
        assert set(np.unique(file.read(1))) == {0, 1}


def test_pipes(folder, weights, monkeypatch, capsysbinary):
    assert main(["refine", "photos/0.png", "masks/0.png", "-o", "file.png", "--weights", weights]) == 0
    capsysbinary.readouterr()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((folder / "masks" / "0.png").read_bytes())))
    assert main(["refine", "photos/0.png", "-", "-o", "-", "--weights", weights]) == 0
    assert capsysbinary.readouterr().out == (folder / "file.png").read_bytes()


@pytest.mark.parametrize(
    ("words", "content", "said"),
    [
        (["-", "-", "-o", "-"], b"", "stdin holds one file"),
        (["photos/0.png", "-", "-o", "-"], b"", "stdin is empty"),
        (["photos/0.png", "-", "-o", "-"], b"GIF89a", "stdin holds none of .png"),
        (["photos/0.png", "-"], b"\x89PNG", "say where the result goes"),
        (["photos/0.png", "-", "-o", "-", "--sheet"], b"\x89PNG", "the refined mask alone"),
        (["photos/0.png"], b"", "give an image and its coarse map"),
        (["photos", "masks", "--shard", "3/2"], b"", "K from 1 to N"),
        (["--yolo", "photos", "labels"], b"", "say by -o"),
        (["--yolo", "photos", "labels", "-o", "labels"], b"", "would replace the labels"),
        (["--coco", "a.json", "photos", "masks", "-o", "b.json"], b"", "nothing else"),
        (["--raster", "a.tif", "b.tif", "-o", "c.tif", "--overlay"], b"", "--overlay is for masks in files"),
    ],
)
def test_what_does_not_fit_is_refused(folder, monkeypatch, capsys, words, content, said):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert main(["refine", *words]) == 2
    assert said in capsys.readouterr().err


def test_every_file_is_in_one_shard(folder, weights, capsys):
    command = ["refine", "photos", "masks", "-o", "out", "--weights", weights, "--json"]
    names = []
    for number in range(1, 4):
        assert main([*command, "--shard", f"{number}/3"]) == 0
        names += [one["source"] for one in lines(capsys)]
    assert sorted(names) == [f"masks/{number}.png" for number in range(4)]
    assert main([*command, "--dry-run", "--skip-existing"]) == 0
    assert lines(capsys) == []
    (folder / "out" / "1.png").unlink()
    assert main([*command, "--dry-run", "--skip-existing"]) == 0
    assert lines(capsys) == [{"source": "masks/1.png", "would": "out/1.png"}]
    (folder / "photos" / "3.png").write_bytes(b"")
    assert main(command) == 1
    assert next(one for one in lines(capsys) if "error" in one)["source"] == "masks/3.png"


def test_voc_objects_get_the_pixels_that_nobody_labelled(folder, weights):
    palette = np.random.default_rng(0).integers(0, 256, 768).tolist()
    objects = np.zeros((HEIGHT, WIDTH), np.uint8)
    objects[10:50, 15:65] = 255
    objects[14:46, 19:40] = 3
    objects[14:46, 44:61] = 7
    picture = Image.fromarray(objects)
    picture.putpalette(palette)
    picture.save(folder / "objects.png")
    assert (
        main(["refine", "photos/0.png", "objects.png", "-o", "out.png", "--unknown", "255", "--weights", weights]) == 0
    )
    with Image.open(folder / "out.png") as refined:
        assert refined.getpalette() == palette
        labels = np.asarray(refined)
    assert set(np.unique(labels)) == {0, 3, 7}
    command = ["refine", "photos/0.png", "objects.png", "-o", "p.npz", "--unknown", "255", "--probabilities"]
    assert main([*command, "--weights", weights]) == 0
    with np.load(folder / "p_probabilities.npz") as stored:
        assert stored["classes"].tolist() == [0, 3, 7]
        same = stored["classes"][stored["probs"].argmax(axis=0)] == labels
    assert same.mean() > 0.99  # bytes tie


def test_unknown_and_rough_exclude_each_other(folder, capsys):
    assert main(["refine", "photos", "masks", "--unknown", "255", "--rough", "4"]) == 2
    assert "leave --rough out" in capsys.readouterr().err
    Image.fromarray(np.full((HEIGHT, WIDTH), 5, np.uint8)).save(folder / "masks" / "0.png")
    assert main(["refine", "photos/0.png", "masks/0.png", "--unknown", "5"]) == 1
    assert "all of its pixels are unknown (5)" in capsys.readouterr().err
