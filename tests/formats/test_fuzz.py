"""What the fuzz over the readers found, and a little more of it."""

import pytest

from spatialprop.errors import InputError
from spatialprop.formats import read_coco, refine_coco
from tests.formats import fuzz

pytest.importorskip("pycocotools.mask", reason="pip install 'spatialprop[coco]'")
pytest.importorskip("rasterio", reason="pip install 'spatialprop[geo]'")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    fuzz.seeds(folder)
    return folder


@pytest.mark.parametrize("path", sorted(fuzz.CORPUS.iterdir()), ids=lambda path: path.name)
def test_what_was_found_is_refused(path, folder):
    try:
        problems = [outcome.problem for outcome in refine_coco(read_coco(path), folder, fuzz.grow)]
    except InputError as error:
        problems = [str(error)]
    assert all(problems), problems


@pytest.mark.slow
def test_nothing_more_is_found(monkeypatch, tmp_path):
    monkeypatch.setattr(fuzz, "CORPUS", tmp_path / "corpus")
    assert fuzz.main(["--tries", "1000", "--seed", "1"]) == 0
