"""The weights of a run's segmenter and of its network."""

from concurrent.futures import ThreadPoolExecutor

import torch
from safetensors.torch import load_file

from spatialprop.experiment.coarse import keep_weights


def test_all_processes_of_a_run_may_keep_its_weights(tmp_path):
    network = torch.nn.Linear(30, 40)
    path = tmp_path / "checkpoints" / "network.safetensors"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: keep_weights(network, path), range(80)))
    kept = load_file(path)
    assert kept.keys() == network.state_dict().keys()
    assert all(torch.equal(kept[name], tensor) for name, tensor in network.state_dict().items())
    assert list(path.parent.iterdir()) == [path]
