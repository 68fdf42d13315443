"""Weights that are kept, and guidance that starts from a refiner's."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from spatialprop.data import LabelSet
from spatialprop.experiment.training import train
from spatialprop.experiment.weights import keep_weights, start_guidance
from spatialprop.nn import RefinementNetwork
from spatialprop.nn.guidance import LightGuidance
from spatialprop.refiner import save_refiner
from spatialprop.tasks import Joint, Parts, Refine, Segment
from tests.experiment.tiny import QUIET, composed, tiny_here
from tests.refiner.networks import trusting

pytestmark = QUIET

SMALL = partial(LightGuidance, width=8, stages=3)
HINTS = ("confidence", "entropy")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    network = RefinementNetwork(SMALL, hints=HINTS)
    for layer in network.guidance.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_()
    torch.nn.init.normal_(network.guidance.head.bias)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_refiner(network, path)
    return path, network.guidance.state_dict()


def task(kind=Refine, guidance=SMALL, **propagation):
    classes = tuple("abcdef")[: propagation.get("num_classes", 4)]
    parts = Parts(LabelSet("few", classes), None, lambda: torch.nn.Conv2d(3, 4, 8, stride=8), guidance, propagation)
    return kind(parts)


def same(network, known):
    return {name for name, value in network.guidance.state_dict().items() if torch.equal(value, known[name])}


def test_all_is_taken_over_where_the_gates_are_alike(weights):
    path, known = weights
    started = task(hints=HINTS, hidden=6, groups=1, num_classes=4, merge="mean")
    start_guidance(started, str(path))
    assert same(started.network, known) == set(known)


@pytest.mark.parametrize(
    "changed",
    [
        {"connection": "one_way"},
        {"hidden": 6, "groups": 2, "num_classes": 4},
        {"connection": "one_way", "hidden": 6, "groups": 3, "num_classes": 4},  # twelve gates, too, but others
        {"directions": ["up", "left", "down", "right"]},
        {"normalization": "unit"},
    ],
    ids=str,
)
def test_other_gates_get_a_last_layer_of_their_own(changed, weights):
    path, known = weights
    started = task(hints=HINTS, **changed)
    network = started.network
    head = network.guidance.head.weight.clone()
    start_guidance(started, str(path))
    torch.testing.assert_close(network.guidance.head.weight, head, rtol=0, atol=0)
    assert same(network, known) == set(known) - {"head.weight", "head.bias"}


def test_a_joint_network_with_a_guidance_of_its_own_starts_so_too(weights):
    path, known = weights
    started = task(Joint, hints=HINTS)
    start_guidance(started, str(path))
    assert same(started.network.refinement, known) == set(known)


@pytest.mark.parametrize(
    "given",
    [
        {"guidance": partial(LightGuidance, width=16, stages=3), "hints": HINTS},
        {"guidance": partial(LightGuidance, width=8, stages=4), "hints": HINTS},
        {},
        {"hints": HINTS[::-1]},
    ],
    ids=["width", "stages", "hints", "order of hints"],
)
def test_another_guidance_is_refused(given, weights):
    other = task(**given)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"another guidance network, one with .*'width': 8, 'stages': 3.*'hints': \['conf"
    ):
        start_guidance(other, str(weights[0]))
    torch.testing.assert_close(other.state_dict(), before, rtol=0, atol=0)


def test_a_task_without_guidance_is_refused(weights):
    with pytest.raises(ValueError, match="which this task has not"):
        start_guidance(task(Segment), str(weights[0]))


def test_weights_of_the_other_kind_are_refused_by_name(tmp_path):
    path = tmp_path / "trusting.safetensors"
    save_refiner(trusting(), path)
    with pytest.raises(ValueError, match=rf"guidance\.checkpoint={path} belongs to a network of another kind"):
        start_guidance(task(), str(path))


def test_weights_that_do_not_exist_are_named(tmp_path):
    for path in (tmp_path / "nowhere.safetensors", tmp_path):
        with pytest.raises(ValueError, match=rf"guidance\.checkpoint: .*{path}.*spatialprop export RUN"):
            start_guidance(task(), str(path))


def test_all_processes_of_a_run_may_keep_its_weights(tmp_path):
    network = torch.nn.Linear(30, 40)
    path = tmp_path / "checkpoints" / "network.safetensors"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: keep_weights(network, path), range(80)))
    kept = load_file(path)
    assert kept.keys() == network.state_dict().keys()
    assert all(torch.equal(kept[name], tensor) for name, tensor in network.state_dict().items())
    assert list(path.parent.iterdir()) == [path]


def test_a_training_starts_from_them(weights, tmp_path):
    known = weights[1]
    path = tmp_path / "small.safetensors"
    path.write_bytes(weights[0].read_bytes())
    options = [f"guidance.checkpoint={path}", "guidance.network.stages=3", f"guidance.hints=[{','.join(HINTS)}]"]
    options += ["optimizer.lr=0", "trainer.max_epochs=1", "segmenter.fit.max_epochs=1"]
    folder = tmp_path / "run"
    train(composed("train", *tiny_here(*options)), folder)
    path.unlink()  # it is not needed again
    train(composed("train", *tiny_here(*options), "ckpt_path=last"), folder)
    left = load_file(folder / "checkpoints" / "network.safetensors")
    learned = [name for name in known if name.endswith((".weight", ".bias"))]
    assert learned
    for name in learned:
        torch.testing.assert_close(left[f"guidance.{name}"], known[name], rtol=0, atol=0)
