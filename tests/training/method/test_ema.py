"""The averaged network: numbers, BatchNorm statistics, counters, and the way through a state dict."""

import torch
from torch import nn

from mobileone.training.method.ema import ModelEma, warmed_decay


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))


def test_the_decay_warms_up_to_its_value() -> None:
    assert [warmed_decay(0.5, t) for t in (0, 2, 8, 100)] == [1 / 10, 3 / 12, 0.5, 0.5]


def test_three_updates_by_hand() -> None:
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(1.0)
    ema = ModelEma(layer, decay=0.2)
    expected = 1.0
    for value, decay in ((2.0, 0.1), (3.0, 2 / 11), (4.0, 0.2)):
        layer.weight.data.fill_(value)
        ema.update(layer)
        expected = decay * expected + (1 - decay) * value
    torch.testing.assert_close(ema.module.weight.detach(), torch.tensor([[expected]]))


def test_statistics_are_averaged_and_counters_copied() -> None:
    model = net().train()
    ema = ModelEma(model, decay=0.9995)
    model(torch.randn(4, 1, 3, 3) + 5)
    norm, average = model[1], ema.module[1]
    before = average.running_mean.clone()
    ema.update(model)
    torch.testing.assert_close(average.running_mean, 0.1 * before + 0.9 * norm.running_mean)
    assert average.num_batches_tracked.item() == norm.num_batches_tracked.item() == 1
    assert average.num_batches_tracked.dtype == torch.int64


def test_the_copy_is_in_eval_without_gradients_and_the_model_is_untouched() -> None:
    model = net().train()
    ema = ModelEma(model, decay=0.9)
    assert not ema.module.training
    assert model.training
    assert not any(p.requires_grad for p in ema.module.parameters())
    assert all(p.requires_grad for p in model.parameters())


def test_the_state_goes_round() -> None:
    model = net()
    ema = ModelEma(model, decay=0.9995)
    for _ in range(3):
        model[0].weight.data += 1
        ema.update(model)
    other = ModelEma(net(), decay=0.9995)
    other.load_state_dict(ema.state_dict())
    model[0].weight.data += 1
    ema.update(model)
    other.update(model)
    assert other.num_updates == 4
    for name, value in ema.module.state_dict().items():
        assert torch.equal(other.module.state_dict()[name], value), name


def test_tensors_are_looked_up_once_and_survive_loading_and_moving() -> None:
    model = net().train()
    ema = ModelEma(model, decay=0.9995)
    ema.update(model)
    lists = ema._averages
    model.load_state_dict({name: value + 1 for name, value in model.state_dict().items()})
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    before = ema.module[0].weight.clone()
    ema.update(model)
    assert ema._averages is lists
    torch.testing.assert_close(
        ema.module[0].weight, before.lerp(model[0].weight, 1 - warmed_decay(0.9995, 1))
    )
    other = net()
    ema.update(other)
    assert ema._averages.theirs[0] is other[0].weight, "another network is looked up anew"
