"""GeoTIFF: window by window, with its georeference, and within bounded memory."""

import numpy as np
import pytest

from spatialprop.errors import InputError
from spatialprop.formats import raster, refine_raster

rasterio = pytest.importorskip("rasterio", reason="pip install 'spatialprop[geo]'")
transform = pytest.importorskip("rasterio.transform")
HEIGHT, WIDTH = 300, 410
PLACE = {"crs": "EPSG:32633", "transform": transform.from_origin(500000, 5800000, 0.5, 0.5)}


def write(path, values, **profile):
    values = values if values.ndim == 3 else values[None]
    count, height, width = values.shape
    settings = {**PLACE, **profile}
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=values.dtype, **settings
    ) as file:
        file.write(values)
    return path


@pytest.fixture
def photo(tmp_path):
    bands = np.random.default_rng(0).integers(0, 4000, (4, HEIGHT, WIDTH), np.uint16)
    return write(tmp_path / "photo.tif", bands)


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    monkeypatch.setattr(raster, "TILE", 128)
    monkeypatch.setattr(raster, "MARGIN", 16)


def labels():
    found = np.zeros((HEIGHT, WIDTH), np.uint8)
    found[40:200, 60:300] = 5
    found[100:150, 200:390] = 9
    found[250:, :30] = 255
    return found


def swap(image, mask):
    """Stands for a refiner: every label becomes the next one that occurs in the window."""
    assert image.dtype == np.uint8
    assert image.shape == (*mask.shape, 3)
    return (mask + 1) % (mask.max() + 1)


def test_the_georeference_is_kept_and_missing_data_too(photo, tmp_path):
    mask = write(tmp_path / "mask.tif", labels(), nodata=255)
    with rasterio.open(mask, "r+") as file:
        file.write_colormap(1, {0: (0, 0, 0, 255), 5: (10, 20, 30, 255)})
        file.update_tags(SURVEY="north")
    outcomes = list(refine_raster(photo, mask, tmp_path / "out.tif", lambda image, mask: mask))
    assert outcomes[-1].windows == len(outcomes) == 12
    assert outcomes[-1].changed == 0
    with rasterio.open(tmp_path / "out.tif") as file:
        np.testing.assert_array_equal(file.read(1), labels())
        assert (file.crs, file.transform, file.nodata) == (PLACE["crs"], PLACE["transform"], 255)
        assert file.colormap(1)[5] == (10, 20, 30, 255)
        assert file.tags()["SURVEY"] == "north"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.tif", "out.tif", "photo.tif"]


def test_windows_fit_together(photo, tmp_path):
    mask = write(tmp_path / "mask.tif", np.where(labels() == 255, 0, labels()))

    def shift(image, mask):
        return np.pad(mask, ((0, 0), (3, 0)), mode="edge")[:, :-3]

    list(refine_raster(photo, mask, tmp_path / "out.tif", shift))
    with rasterio.open(tmp_path / "out.tif") as file:
        found = file.read(1)
    whole = np.where(labels() == 255, 0, labels())
    np.testing.assert_array_equal(found, np.pad(whole, ((0, 0), (3, 0)), mode="edge")[:, :-3])


def test_windows_of_one_label_are_copied(photo, tmp_path):
    only = np.full((HEIGHT, WIDTH), 3, np.uint8)
    only[:10, :10] = 4
    mask = write(tmp_path / "mask.tif", only)
    assert list(refine_raster(photo, mask, tmp_path / "out.tif", swap))[-1].refined == 1


@pytest.mark.parametrize(
    ("values", "profile", "words"),
    [
        (np.zeros((HEIGHT, WIDTH + 1), np.uint8), {}, "bring them to one grid"),
        (np.zeros((2, HEIGHT, WIDTH), np.uint8), {}, "has 2 bands of uint8; a label map has one"),
        (np.zeros((HEIGHT, WIDTH), np.float32), {}, "bands of float32"),
        (np.zeros((HEIGHT, WIDTH), np.uint8), {"crs": "EPSG:4326"}, "different places of the earth"),
        (labels().astype(np.int32) - 7, {}, "labels go from 0 to 65535; got -7"),
    ],
)
def test_rasters_that_do_not_fit_are_refused(photo, tmp_path, values, profile, words):
    mask = write(tmp_path / "mask.tif", values, **profile)
    with pytest.raises(InputError) as error:
        list(refine_raster(photo, mask, tmp_path / "out.tif", swap))
    assert words in str(error.value)
    assert not (tmp_path / "out.tif").exists()
    assert not list(tmp_path.glob("*.part*"))


def test_damaged_files_are_named(photo, tmp_path):
    whole = write(tmp_path / "mask.tif", labels(), compress="deflate").read_bytes()
    for keep in (0, 8, len(whole) // 2, len(whole) - 20):
        (tmp_path / "mask.tif").write_bytes(whole[:keep])
        with pytest.raises(InputError, match=r"mask\.tif"):
            list(refine_raster(photo, tmp_path / "mask.tif", tmp_path / "out.tif", swap))
    with pytest.raises(InputError, match="would replace an input"):
        list(refine_raster(photo, tmp_path / "mask.tif", photo, swap))


def test_a_raster_that_holds_nothing_is_refused_before_anything_is_written(tmp_path):
    names = [tmp_path / "photo.tif", tmp_path / "mask.tif"]
    for name in names:
        shape = {"width": 2_000_000, "height": 2_000_000, "tiled": True, "blockxsize": 4096, "blockysize": 4096}
        with rasterio.open(
            name, "w", driver="GTiff", count=1, dtype="uint8", sparse_ok=True, bigtiff="yes", **shape, **PLACE
        ):
            pass
    with pytest.raises(InputError, match="claims 2000000x2000000 pixels in"):
        list(refine_raster(*names, tmp_path / "out.tif", swap))
    assert sorted(tmp_path.iterdir()) == sorted(names)


def test_blocks_that_do_not_fit_into_memory_are_refused(photo, tmp_path, monkeypatch):
    mask = write(tmp_path / "mask.tif", labels())
    monkeypatch.setattr("spatialprop.memory.memory_left", lambda: 1000)
    with pytest.raises(InputError, match="store them in tiles"):
        list(refine_raster(photo, mask, tmp_path / "out.tif", swap))


def test_no_other_file_is_opened_because_a_raster_names_it(tmp_path):
    """Overviews of its own are used; those that its metadata name may be files of any kind, or addresses."""
    place = write(tmp_path / "photo.tif", np.arange(3000 * 40, dtype=np.uint16).reshape(40, 3000))
    vrt = """<VRTDataset rasterXSize="1000" rasterYSize="14"><VRTRasterBand dataType="UInt16" band="1"/></VRTDataset>"""
    (tmp_path / "other.vrt").write_text(vrt)
    named = f'<MDI key="OVERVIEW_FILE">{tmp_path / "other.vrt"}</MDI>'
    (tmp_path / "photo.tif.aux.xml").write_text(
        f'<PAMDataset><Metadata domain="OVERVIEWS">{named}</Metadata></PAMDataset>'
    )
    with rasterio.open(place) as file:
        assert file.overviews(1)  # so that this test means something
    with raster._opened(rasterio, place) as file:
        assert not file.overviews(1)
