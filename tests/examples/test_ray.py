"""The example for Ray, on a cluster of two workers in processes of their own."""

import io
import os
import re
import warnings

import numpy as np
import pytest
from PIL import Image

from spatialprop import Refiner
from spatialprop.refiner import save_refiner
from tests.experiment.tiny import REPOSITORY
from tests.refiner.networks import photograph, trained

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray and what it imports warn of themselves


@pytest.fixture
def cluster(monkeypatch):
    """A head without processors and two nodes with one each."""
    pytest.importorskip("ray", reason="pip install 'spatialprop[ray]'")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.syspath_prepend(REPOSITORY)
    paths = os.pathsep.join(path for path in (os.environ.get("PYTHONPATH"), str(REPOSITORY)) if path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            for _ in range(2):
                nodes.add_node(num_cpus=2)
            nodes.wait_for_nodes(timeout=300)
            ray.init(address=nodes.address, runtime_env={"env_vars": {"PYTHONPATH": paths}}, log_to_driver=False)
            yield nodes
        finally:
            ray.shutdown()
            nodes.shutdown()


def test_two_workers_refine_a_data_set(cluster, tmp_path, monkeypatch, capsys):
    import pyarrow.parquet as pq

    from examples import with_ray

    network = trained()
    weights = str(tmp_path / "tiny.safetensors")
    save_refiner(network, weights)
    masks = {}
    for place in ("photos", "masks"):
        (tmp_path / place).mkdir()
    palette = np.random.default_rng(0).integers(0, 256, 768).tolist()
    for number in range(20):
        Image.fromarray(photograph(40, 50, number)).save(tmp_path / "photos" / f"{number}.png")
        masks[str(number)] = np.zeros((40, 50), np.uint8)
        masks[str(number)][10:30, number : number + 20] = 7
        picture = Image.fromarray(masks[str(number)])
        picture.putpalette(palette)
        picture.save(tmp_path / "masks" / f"{number}.png")
    source, target = str(tmp_path / "masks.parquet"), str(tmp_path / "refined")
    assert with_ray.pack(tmp_path / "photos", tmp_path / "masks", source) == 20
    with_ray.refine(source, target, 2, weights, 4.0)

    rows = pq.read_table(target).to_pylist()
    assert sorted(row["name"] for row in rows) == sorted(masks)
    refiner = Refiner(network)
    for row in rows[:5]:
        with Image.open(io.BytesIO(row["refined"])) as refined:
            assert refined.getpalette() == palette
            expected = refiner(photograph(40, 50, int(row["name"])), masks[row["name"]], rough=4)
            np.testing.assert_array_equal(np.asarray(refined), expected)
        assert row["milliseconds"] > 0

    monkeypatch.setattr("sys.argv", ["with_ray.py", "refine", source, str(tmp_path / "again"), "--weights", weights])
    with_ray.main()
    assert re.match(r"20 masks in [0-9.]+ s, of which each actor computed", capsys.readouterr().out)
    with pytest.raises(SystemExit, match=r"4 actors need a cluster of 5 processors, .* it has 4: give fewer"):
        with_ray.refine(source, target, 4, weights, "auto")
