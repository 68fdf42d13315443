"""`spatialprop refine`, `explain` and `export` as somebody uses them."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from spatialprop.cli import main
from spatialprop.cli.refine import work as refine_work
from spatialprop.cli.refine.jobs import find_jobs
from spatialprop.drawing import class_colours, overlay
from spatialprop.errors import InputError
from spatialprop.refiner import Refiner, explain, save_refiner
from tests.refiner.networks import photograph, probabilities, trained, trusting

LABELS = np.zeros((24, 32), np.uint8)
LABELS[4:20, 6:22] = 3


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    save_refiner(trained(), path, "untrained")
    return path


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Three photographs with their masks, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "masks"):
        (tmp_path / folder).mkdir()
    for seed, name in enumerate("abc"):
        Image.fromarray(photograph(24, 32, seed)).save(f"photos/{name}.png")
        picture = Image.fromarray(np.roll(LABELS, seed))
        picture.putpalette(class_colours().tobytes())
        picture.save(f"masks/{name}.png")
    return tmp_path


@pytest.fixture
def refine(weights, capsys):
    def run(*words):
        code = main(["refine", *words, "--weights", str(weights)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def picture(path):
    with Image.open(path) as image:
        image.load()
        return image


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_one_file(data, refine, weights):
    code, printed, _ = refine("photos/a.png", "masks/a.png")
    assert code == 0
    assert printed.startswith("masks/a_refined.png: labels, 2 classes, ")
    with Image.open("masks/a_refined.png") as result:
        assert result.mode == "P"
        assert result.getpalette()[:12] == class_colours()[:4].ravel().tolist()
        expected = Refiner.load(weights)(photograph(24, 32), LABELS)
        np.testing.assert_array_equal(np.asarray(result), expected)


def test_rough_masks_change_more(data, refine, capsys):
    def changed(*words):
        code, printed, _ = refine("photos/a.png", "masks/a.png", *words)
        assert code == 0
        return float(printed.split(" %")[0].split()[-1])

    assert changed("--rough", "16") > changed()
    with pytest.raises(SystemExit, match="2"):
        refine("photos/a.png", "masks/a.png", "--rough", "-2")
    assert "must be auto, 0, or a number of pixels from 1 on; got -2" in capsys.readouterr().err


HINT = "the borders looked right: --rough PIXELS says that they are not"


def test_says_so_when_hardly_anything_changed(data, capsys):
    network = trusting(std=0)
    with torch.no_grad():
        network.guidance.head.bias[-20:].view(4, 5)[:, 4] = 99  # each pixel keeps what it has
    save_refiner(network, data / "still.safetensors")
    for words, hinted in [((), True), (("--rough", "0"), False), (("--rough", "auto"), True)]:
        assert main(["refine", "photos/a.png", "masks/a.png", "--weights", "still.safetensors", *words]) == 0
        printed = capsys.readouterr().out
        assert ", 0.0 % of the pixels changed" in printed
        assert (HINT in printed) == hinted


def test_says_how_much_changed(data, refine):
    _, printed, _ = refine("photos/a.png", "masks/a.png", "--rough", "16")
    share = 100 * (np.asarray(picture("masks/a_refined.png")) != LABELS).mean()
    assert share > 1
    assert f"{share:.1f} % of the pixels changed" in printed
    assert HINT not in printed
    refine("photos/a.png", "masks/a.png", "--rough", "0")
    np.testing.assert_array_equal(np.asarray(picture("masks/a_refined.png")), LABELS)


def test_classes_that_get_lost_are_named(data, refine):
    dotted = LABELS.copy()
    dotted[10, 28] = 7
    Image.fromarray(dotted).save("masks/dot.png")
    code, printed, _ = refine("photos/a.png", "masks/dot.png", "--rough", "16")
    assert code == 0
    assert "nothing is left of 7; --rough is too much for what is smaller" in printed


def test_classes_that_get_lost_by_themselves_can_be_kept(data, capsys):
    dotted = LABELS.copy()
    dotted[10, 28] = 7
    Image.fromarray(dotted).save("masks/dot.png")
    network = trusting(std=0)
    with torch.no_grad():
        network.guidance.head.bias[-20:].view(4, 5)[:, :4] = 99  # each pixel takes what is around it
    save_refiner(network, data / "smooth.safetensors")
    assert main(["refine", "photos/a.png", "masks/dot.png", "--weights", "smooth.safetensors"]) == 0
    assert "nothing is left of 7; --rough 0 leaves the mask as it is" in capsys.readouterr().out


def test_everything_that_can_be_asked_for(data, refine):
    code, *_ = refine("photos/a.png", "masks/a.png", "-o", "out/x.png", "--probabilities", "--overlay", "--sheet")
    assert code == 0
    assert names(data / "out") == ["x.png", "x_overlay.png", "x_probabilities.npz", "x_sheet.png"]
    stored = np.load("out/x_probabilities.npz")
    assert stored["classes"].tolist() == [0, 3]
    assert stored["probs"].shape == (2, 24, 32)
    labels = np.asarray(picture("out/x.png"))
    shares = stored["probs"].astype(int)
    clear = np.abs(shares[0] - shares[1]) > 2
    assert (stored["classes"][shares.argmax(axis=0)] == labels)[clear].all()


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_folders(data, refine, workers):
    code, printed, _ = refine("photos", "masks", "--workers", workers)
    assert code == 0
    assert printed == "3 refined, 0 there already, 0 failed\n"
    assert names(data / "masks_refined") == ["a.png", "b.png", "c.png"]


@pytest.mark.slow
def test_one_process_or_two_is_all_the_same(data, refine):
    refine("photos", "masks", "-o", "one")
    refine("photos", "masks", "-o", "two", "--workers", "2")
    for name in "abc":
        assert (data / f"one/{name}.png").read_bytes() == (data / f"two/{name}.png").read_bytes()


def test_patterns(data, refine):
    (data / "sets" / "x").mkdir(parents=True)
    for name in "ab":
        (data / f"photos/{name}.png").rename(data / f"sets/x/{name}_photo.png")
        (data / f"masks/{name}.png").rename(data / f"sets/x/{name}_mask.png")
    code, printed, problems = refine("sets/*/*_photo.png", "sets/*/*_mask.png", "-o", "out")
    assert (code, printed, problems) == (0, "2 refined, 0 there already, 0 failed\n", "")
    assert names(data / "out" / "x") == ["a_mask.png", "b_mask.png"]
    code, printed, problems = refine("**/*_photo.png", "**/*_mask.png", "-o", "out")
    assert (code, problems) == (0, ""), "masks of the first run are no maps without an image"
    assert names(data / "out" / "sets" / "x") == ["a_mask.png", "b_mask.png"]
    code, _, problems = refine("**/*_photo.png", "**/*_mask.png", "-o", "all")
    assert code == 1
    assert "out/x/a_mask.png: no image matches '**/*_photo.png' likewise" in problems


def test_patterns_that_find_masks_as_images_and_results_as_both(data, refine):
    for name in "ab":
        (data / f"masks/{name}.png").rename(data / f"photos/{name}_mask.png")
    (data / "photos/d_mask.png").write_bytes((data / "photos/a_mask.png").read_bytes())
    for output in ("photos/out", "photos"):
        words = ("photos/**/*.png", "photos/**/*_mask.png", "-o", output, "--overlay")
        if output == "photos":  # which holds the maps: nothing there is taken for a result because of its place
            words = ("photos/*.png", "photos/*_mask.png", "-o", "./photos/new", "--overlay")
        for _ in range(2):
            code, printed, problems = refine(*words)
            assert (code, printed) == (1, "2 refined, 0 there already, 2 failed\n")
            assert problems.splitlines() == [
                f"photos/c.png: no coarse map matches '{words[1]}' likewise",
                f"photos/d_mask.png: no image matches '{words[0]}' likewise",
            ]


def test_maps_below_the_output_folder_need_their_image(data, refine):
    (data / "photos/b.png").unlink()
    code, _, problems = refine("photos/*.png", "masks/*.png", "-o", ".")
    assert code == 1
    assert problems == "masks/b.png: no image matches 'photos/*.png' likewise\n"


def test_a_linked_folder_of_maps(data, refine):
    (data / "masks").rename(data / "store")
    (data / "masks").symlink_to(data / "store")
    (data / "masks_refined").write_bytes(b"in the way")
    code, _, problems = refine("photos", "masks")
    assert code == 2
    assert "masks_refined is a file; results of several images need a folder" in problems
    (data / "masks_refined").unlink()
    code, *_ = refine("photos", "masks")
    assert code == 0
    assert names(data / "masks_refined") == ["a.png", "b.png", "c.png"]


def test_what_is_without_its_partner_is_named(data, refine):
    for path in ("photos/b.png", "masks/c.png"):
        (data / path).unlink()
    code, printed, problems = refine("photos", "masks", "-o", "out")
    assert (code, printed) == (1, "1 refined, 0 there already, 2 failed\n")
    assert problems.splitlines() == [
        "photos/c.png: masks holds no coarse map of that name",
        "masks/b.png: photos holds no image of that name",
    ]
    code, printed, problems = refine("photos/*.png", "masks/*.png", "-o", "out", "--skip-existing")
    assert (code, printed) == (1, "0 refined, 1 there already, 2 failed\n")
    assert problems.splitlines() == [
        "photos/c.png: no coarse map matches 'masks/*.png' likewise",
        "masks/b.png: no image matches 'photos/*.png' likewise",
    ]


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_a_bad_file_stops_nobody(data, refine, workers):
    (data / "masks/b.png").write_bytes((data / "masks/b.png").read_bytes()[:60])
    Image.fromarray(photograph(24, 30)).save("photos/c.png")
    Image.fromarray(photograph(24, 30)).save("photos/d.png")
    code, printed, problems = refine("photos", "masks", "--workers", workers)
    assert code == 1
    assert printed == "1 refined, 0 there already, 3 failed\n"
    lines = sorted(problems.strip().splitlines())
    assert len(lines) == 3
    assert lines[0].startswith("masks/b.png cannot be read as a coarse map: ")
    assert lines[1].startswith(
        "masks/c.png: a label map must have the image's size; got a map of 32x24 for an image of 30x24"
    )
    assert lines[2] == "photos/d.png: masks holds no coarse map of that name"
    assert names(data / "masks_refined") == ["a.png"]


def test_what_is_there_is_skipped(data, refine, monkeypatch):
    refine("photos/a.png", "masks/a.png", "-o", "out/a.png")
    before = (data / "out/a.png").stat().st_mtime_ns
    code, printed, _ = refine("photos", "masks", "-o", "out", "--skip-existing")
    assert (code, printed) == (0, "2 refined, 1 there already, 0 failed\n")
    assert (data / "out/a.png").stat().st_mtime_ns == before
    code, printed, _ = refine("photos", "masks", "-o", "out", "--skip-existing", "--overlay")
    assert printed == "3 refined, 0 there already, 0 failed\n"
    code, printed, _ = refine("photos", "masks", "-o", "out", "--skip-existing", "--overlay")
    assert (code, printed) == (0, "0 refined, 3 there already, 0 failed\n")


def test_probabilities_in_and_out(data, refine):
    np.savez("coarse.npz", probs=probabilities(3, 3, 4))
    code, *_ = refine("photos/a.png", "coarse.npz")
    assert code == 0
    assert picture("coarse_refined.png").size == (32, 24)
    code, printed, _ = refine("photos/a.png", "coarse.npz", "--skip-existing")
    assert printed == "0 refined, 1 there already, 0 failed\n"
    code, *_ = refine("photos/a.png", "coarse.npz", "-o", "out.npz", "--no-restrict")
    assert np.load("out.npz")["probs"].shape == (3, 24, 32)
    code, *_ = refine("photos/a.png", "coarse.npz", "-o", "out.npy", "--overlay", "--sheet")
    np.testing.assert_allclose(np.load("out.npy").sum(axis=0), 1, atol=1e-5)


def test_a_palette_file_colours_probabilities(data, refine):
    np.savez("coarse.npz", probs=probabilities(3, 3, 4))
    (data / "classes.txt").write_text("1 2 3 a\n4 5 6 b\n7 8 9 c\n")
    code, *_ = refine("photos/a.png", "coarse.npz", "--palette", "classes.txt")
    assert code == 0
    assert picture("coarse_refined.png").getpalette()[:9] == list(range(1, 10))


def test_soft_masks_stay_soft(data, refine):
    soft = np.clip(np.add.outer(np.arange(24) * 5, np.arange(32) * 6) - 9, 0, 255).astype(np.uint8)
    Image.fromarray(soft).save("soft.png")
    code, printed, _ = refine("photos/a.png", "soft.png", "--kind", "alpha", "--sheet")
    assert code == 0
    assert printed.startswith("soft_refined.png: alpha, 2 classes")
    assert len(np.unique(np.asarray(picture("soft_refined.png")))) > 20


def test_a_faint_soft_mask_is_not_wiped_out(data, refine):
    np.save("faint.npy", np.where(LABELS > 0, 0.45, 0).astype(np.float32))
    assert refine("photos/a.png", "faint.npy", "-o", "out.npy")[0] == 0
    assert np.load("out.npy").max() > 0.2


def test_masks_may_lie_beside_their_images(data, refine):
    for name in "ab":
        (data / "photos" / f"{name}_mask.png").write_bytes((data / "masks" / f"{name}.png").read_bytes())
    code, _, said = refine("photos/*.png", "photos/*_mask.png", "-o", "out")
    assert names(data / "out") == ["a_mask.png", "b_mask.png"]
    assert code == 1
    assert said.count("no coarse map") == 1
    assert "c.png" in said


def test_an_image_on_its_side(data, refine):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photograph(32, 24)).save("photos/turned.jpg", exif=exif)
    code, *_ = refine("photos/turned.jpg", "masks/a.png", "-o", "out.png")
    assert code == 0
    assert picture("out.png").size == (32, 24)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["photos/a.png", "masks"], "masks is not a file; give two files"),
        (["photos", "masks/a.png"], "photos is not a file"),
        (["photos", "elsewhere"], "the coarse maps must be one too; got elsewhere"),
        (["elsewhere", "masks"], "give a file, a folder, or a quoted pattern"),
        (["masks_refined/*.jpg", "masks/*.png"], "no file matches 'masks_refined/"),
        (["photos/*.png", "masks/a.png"], "photos/*.png is not a file"),
        (["photos/*.png", "masks/*_*.png"], "the same wildcards"),
        (["photos/[ab]*.png", "masks/[ab]*.png"], "no other ** or [; got 'photos/[ab]*.png': rename"),
        (["photos/**", "masks/**"], "no other ** or [; got 'photos/**'"),
        (["photos", "masks", "-o", "masks"], "the result would replace masks/a.png"),
        (["photos/a.png", "masks/a.png", "-o", "photos/a.png"], "the result would replace photos/a.png"),
        (["photos", "masks", "-o", "photos/a.png"], "photos/a.png is a file; results of several images need a folder"),
        (["photos/a.png", "masks/a.png", "-o", "a.jpg"], "which lose nothing; got 'a.jpg'"),
        (["photos", "masks", "-o", "out.png"], "out.png is a file; results of several images need a folder"),
        (["photos", "masks", "--classes", "0"], "--classes must be at least 1; got 0"),
        (["photos", "masks", "--most-pixels", "-1"], "--most-pixels must be at least 1; got -1"),
        (["photos", "masks", "--workers", "0"], "--workers must be at least 1; got 0"),
        (["photos", "masks", "--palette", "photos/a.png"], "is not a text file"),
        (["photos", "masks", "-o", "photos/a.png/out"], "photos/a.png is a file; choose another place"),
        (["photos/a.png", "masks/a.png", "-o", "photos/a.png/out/x.png"], "photos/a.png is a file; choose another"),
        (["photos", "masks", "--device", "nowhere"], "--device nowhere cannot be used here: "),
    ],
)  # fmt: skip
def test_command_lines_that_cannot_be_followed(data, refine, words, message):
    code, printed, problems = refine(*words)
    assert code == 2
    assert printed == ""
    assert problems.startswith("spatialprop refine: ")
    assert message in problems
    assert problems.count("\n") == 1
    assert names(data) == ["masks", "photos"]
    assert len(names(data / "masks")) == len(names(data / "photos")) == 3


def test_a_result_keeps_its_name(data, refine):
    code, printed, _ = refine("photos/a.png", "masks/a.png", "-o", "OUT.PNG")
    assert code == 0
    assert printed.startswith("OUT.PNG: ")
    code, printed, _ = refine("photos/a.png", "masks/a.png", "-o", "OUT.PNG", "--skip-existing")
    assert printed == "0 refined, 1 there already, 0 failed\n"
    (data / "OUT.PNG").write_bytes(b"")
    code, printed, _ = refine("photos/a.png", "masks/a.png", "-o", "OUT.PNG", "--skip-existing")
    assert printed.startswith("OUT.PNG: "), "an empty file is no result"


def test_a_palette_that_has_too_few_classes(data, refine):
    np.save("labels.npy", LABELS)
    np.save("shares.npy", probabilities(4, 24, 32))
    for coarse in ("labels.npy", "shares.npy"):
        (data / "few.txt").write_text("0 0 0\n10 250 20\n")
        code, _, problems = refine("photos/a.png", coarse, "--palette", "few.txt", "--overlay", "-o", "out.png")
        assert code == 1
        assert problems == f"{coarse}: its classes go up to 3; the palette has 2 lines: add the others\n"
        assert names(data) == ["few.txt", "labels.npy", "masks", "photos", "shares.npy"]
    (data / "few.txt").write_text("0 0 0\n1 2 3\n4 5 6\n10 250 20\n")
    code, *_ = refine("photos/a.png", "labels.npy", "--palette", "few.txt", "--overlay", "-o", "out.png")
    assert code == 0
    after = np.asarray(picture("out.png"))
    colours = np.array([[0, 0, 0], [1, 2, 3], [4, 5, 6], [10, 250, 20]], np.uint8)
    np.testing.assert_array_equal(picture("out_overlay.png"), overlay(photograph(24, 32), after, colours))


@pytest.mark.parametrize("folder", ["new", "new.d/"])
def test_a_folder_for_one_image(data, refine, folder):
    code, *_ = refine("photos/a.png", "masks/a.png", "-o", folder)
    assert code == 0
    assert names(data / folder) == ["a.png"]


def test_two_images_of_one_name(data):
    Image.fromarray(photograph(24, 32)).save("photos/a.jpg")
    with pytest.raises(InputError, match="go by one name"):
        find_jobs("photos", "masks", None)


def test_labels_beyond_the_classes(data, refine):
    code, _, problems = refine("photos/a.png", "masks/a.png", "--classes", "3")
    assert code == 1
    assert problems == (
        "masks/a.png: a label map must hold classes from 0 to 2; got 3: give void pixels a class of their own, "
        "or correct the number of classes\n"
    )


def test_probabilities_of_a_label_map_give_its_labels_again(data, refine):
    code, *_ = refine("photos/a.png", "masks/a.png", "--probabilities", "-o", "out/x.png")
    code, *_ = refine("photos/a.png", "out/x_probabilities.npz", "-o", "again/x.png", "--probabilities", "--overlay")
    assert code == 0
    again = picture("again/x.png")
    assert again.mode == "P"
    labels = np.asarray(again)
    assert np.unique(labels).tolist() == [0, 3]
    assert (labels == np.asarray(picture("out/x.png"))).mean() > 0.6
    assert np.load("again/x_probabilities.npz")["classes"].tolist() == [0, 3]
    drawn = np.asarray(picture("again/x_overlay.png"))
    np.testing.assert_array_equal(drawn, overlay(photograph(24, 32), labels))
    code, _, problems = refine("photos/a.png", "out/x_probabilities.npz", "-o", "again/x.npy")
    assert code == 1
    assert "out/x_probabilities.npz: its `classes` say which labels" in problems


@pytest.mark.parametrize("more", [[], ["--probabilities"]])
def test_classes_are_said_of_label_maps_alone(data, refine, more):
    Image.fromarray(LABELS * 85).save("masks/mask.png")
    Image.fromarray(LABELS).filter(ImageFilter.BoxBlur(2)).point(lambda level: level * 85).save("masks/soft.png")
    np.save("masks/shares.npy", probabilities(3, 6, 8))
    for name, kind in (("mask.png", "mask"), ("soft.png", "alpha"), ("shares.npy", "auto")):
        for classes in ("1", "21"):
            words = ["photos/a.png", f"masks/{name}", "--kind", kind, "--classes", classes]
            code, _, problems = refine(*words, "-o", "out", *more)
            assert (code, problems) == (0, "")
    code, _, problems = refine("photos/a.png", "masks/a.png", "--classes", "3", *more)
    assert code == 1
    assert "a label map must hold classes from 0 to 2; got 3" in problems


def test_a_kind_that_an_array_is_not(data, refine):
    np.save("coarse.npy", probabilities(3, 24, 32))
    code, _, problems = refine("photos/a.png", "coarse.npy", "--kind", "mask")
    assert code == 1
    assert problems.startswith("coarse.npy: it holds float32 (3, 24, 32), probabilities (K, h, w), and not what --kind")


def test_stopping_says_how_to_go_on(data, refine, monkeypatch):
    refine_file = refine_work.refine_file

    def interrupted(refiner, job, settings):
        if job.image.name == "b.png":
            raise KeyboardInterrupt
        return refine_file(refiner, job, settings)

    monkeypatch.setattr(refine_work, "refine_file", interrupted)
    code, _, problems = refine("photos", "masks", "-o", "out")
    assert code == 130
    assert "stopped after 1 of 3 or a few more; go on with --skip-existing" in problems
    assert names(data / "out") == ["a.png"]


def test_a_failing_write_leaves_nothing(data, refine, monkeypatch):
    monkeypatch.setattr(Image.Image, "save", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    code, _, problems = refine("photos/a.png", "masks/a.png", "-o", "out/a.png")
    assert code == 1
    assert problems == "masks/a.png: disk full\n"
    assert names(data / "out") == []


# Pictures


def test_explain(data, weights, capsys):
    assert main(["explain", "photos/a.png", "masks/a.png", "--pixel", "7,9", "--weights", str(weights)]) == 0
    assert capsys.readouterr().out == "a_explained.png\n"
    with_map = np.asarray(picture("a_explained.png"))
    assert main(["explain", "photos/a.png", "--pixel", "7, 9", "--weights", str(weights), "-o", "x.png"]) == 0
    assert np.asarray(picture("x.png")).shape == with_map.shape
    words = ["explain", "photos/a.png", "--pixel", "7,9", "--weights", str(weights), "-o", "new/folder/x.png"]
    assert main(words) == 0
    assert names(data / "new" / "folder") == ["x.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pixel", "7"], "--pixel must be ROW,COLUMN, such as 120,200; got '7'"),
        (["--pixel", "a,b"], "--pixel must be ROW,COLUMN"),
        (["--pixel", "24,0"], "pixel (24, 0) lies outside the image"),
        (["--pixel", "1,1", "-o", "x.jpg"], "a picture is written as one of"),
        (["--pixel", "1,1", "--most-pixels", "0"], "--most-pixels must be at least 1; got 0"),
    ],
)
def test_explain_says_what_is_wrong(data, weights, capsys, words, message):
    assert main(["explain", "photos/a.png", *words, "--weights", str(weights)]) == 2
    assert message in capsys.readouterr().err


def test_explain_draws_affinity_at_its_place():
    refiner = Refiner(trained(std=0.05))
    image = np.full((400, 400, 3), 128, np.uint8)
    picture = np.asarray(explain(refiner, image, None, (200, 300))).astype(int)
    alone = picture[-408:-8, -408:-8]  # the last panel
    red = alone[..., 0] - alone[..., 2]
    assert red[196:205, 296:305].max() > 80
    assert np.abs(red[:150]).max() < 10


# Export


def test_export_of_weights(data, weights, capsys):
    assert main(["export", str(weights), "--to", "mine.pth"]) == 2
    assert "an archive is .pt2 or .onnx" in capsys.readouterr().err
    assert main(["export", str(weights), "--to", "mine.safetensors"]) == 2
    assert "is not the folder of a run" in capsys.readouterr().err


def test_inputs_are_never_replaced(data, refine, weights, capsys):
    (data / "masks" / "a.png").rename(data / "x_overlay.png")
    before = (data / "x_overlay.png").read_bytes()
    code, _, problems = refine("photos/a.png", "x_overlay.png", "-o", "x.png", "--overlay")
    assert code == 2
    assert "the result would replace x_overlay.png; choose another place by --output" in problems
    assert (data / "x_overlay.png").read_bytes() == before
    code, _, problems = refine("photos/b.png", "masks/b.png", "-o", str(data / "masks" / ".." / "masks" / "b.png"))
    assert code == 2
    assert "the result would replace" in problems
    code = main(["explain", "photos/a.png", "--pixel", "3,4", "-o", "photos/a.png", "--weights", str(weights)])
    assert code == 2
    assert "photos/a.png would replace an input" in capsys.readouterr().err


def test_weights_that_cannot_be_read_are_said_once(data, capsys):
    assert main(["refine", "photos", "masks", "--workers", "2", "--weights", "photos/a.png"]) == 2
    problems = capsys.readouterr().err
    assert problems.count("\n") == 1
    assert "photos/a.png" in problems


def test_two_results_of_one_name_are_refused(data, refine):
    for folder in ("photos", "masks"):
        (data / folder / "b.png").rename(data / folder / "a_overlay.png")
    code, _, problems = refine("photos", "masks", "-o", "out", "--overlay")
    assert code == 2
    assert "two results would be called out/a_overlay.png; rename one of the inputs" in problems


def test_classes_lost_in_a_folder_are_named(data, refine):
    code, _, problems = refine("photos", "masks", "-o", "out", "--rough", "64")
    assert code == 0
    assert problems.count("nothing is left of") == 3
