"""Which parameters learn, how fast, and which weights fit."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW

from spatialprop.tasks import schedules
from spatialprop.tasks.optimization import Optimization, freeze, pretrained_parameters, restore


class Trunk(nn.Sequential):
    """Its first layer comes with weights."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1))

    def pretrained_parameters(self):
        return list(self[0].parameters())


@pytest.fixture
def network():
    return nn.Sequential(Trunk(), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def names_by_learning_rate(network, optimizer):
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {group["lr"]: {names[id(p)] for p in group["params"]} for group in optimizer.param_groups}


def configured(network, steps=10, **options):
    configuration = Optimization(partial(SGD, lr=0.5), **options).configure(
        network, SimpleNamespace(estimated_stepping_batches=steps)
    )
    scheduler = configuration["lr_scheduler"]
    assert scheduler["interval"] == "step"
    return configuration["optimizer"], scheduler["scheduler"]


def test_pretrained_parameters_learn_at_their_own_rate(network):
    optimizer, _ = configured(network, pretrained_factor=0.1)
    assert names_by_learning_rate(network, optimizer) == {
        0.05: {"0.0.weight", "0.0.bias"},
        0.5: {"0.1.weight", "0.1.bias", "1.weight", "1.bias", "2.weight", "2.bias"},
    }


def test_frozen_parameters_are_not_given_to_the_optimizer(network):
    freeze(network[0])
    assert pretrained_parameters(network) == []
    optimizer, _ = configured(network, pretrained_factor=0.1)
    names = names_by_learning_rate(network, optimizer)
    assert names[0.5] == {"1.weight", "1.bias", "2.weight", "2.bias"}
    assert sum(len(group) for group in names.values()) == 4


def test_networks_without_pretrained_parts_learn_at_one_rate():
    network = nn.Linear(2, 2)
    optimizer, _ = configured(network)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2
    network(torch.ones(1, 2)).sum().backward()
    before = network.weight.clone()
    optimizer.step()
    torch.testing.assert_close(network.weight, before - 0.5)


def test_schedule_runs_over_the_whole_training_for_both_rates(network):
    optimizer, scheduler = configured(
        network, steps=4, pretrained_factor=0.1, schedule=partial(schedules.poly, power=1)
    )
    rates = []
    for _ in range(6):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    shares = [1, 0.75, 0.5, 0.25, 0, 0]  # after the end it stays where it is
    assert rates == [pytest.approx([0.5 * share, 0.05 * share]) for share in shares]


def test_any_optimizer_fits(network):
    optimization = Optimization(partial(AdamW, lr=1e-3, weight_decay=0.1))
    optimizer = optimization.configure(network, SimpleNamespace(estimated_stepping_batches=5))["optimizer"]
    assert isinstance(optimizer, AdamW)
    assert optimizer.param_groups[0]["weight_decay"] == 0.1


def test_frozen_networks_stay_as_they_are(network):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    freeze(network)
    assert not network(torch.rand(4, 3, 8, 8)).requires_grad
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_restore_loads_weights(network):
    other = nn.Sequential(Trunk(), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    restore(network, other.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


def test_restore_names_what_does_not_fit(network):
    state = network.state_dict()
    state["2.weight"] = torch.zeros(5, 4, 1, 1)
    del state["0.1.bias"]
    state["head.weight"] = torch.zeros(1)
    before = network[2].bias.clone()
    with pytest.raises(ValueError, match="do not fit the network") as raised:
        restore(network, state)
    assert "missing: 0.1.bias" in str(raised.value)
    assert "2.weight is (5, 4, 1, 1), 2.weight needs (2, 4, 1, 1)" in str(raised.value)
    assert "unexpected: head.weight" in str(raised.value)
    assert torch.equal(network[2].bias, before)


def test_restore_keeps_a_long_list_short(network):
    with pytest.raises(ValueError, match="and 2 more") as raised:
        restore(network, {})
    assert str(raised.value).count(", ") == 7
