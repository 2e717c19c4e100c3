"""Claims of docs/online.md about one step's exactness; `benchmarks.online_training --exact` prints them."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mobileone
from benchmarks.online_accuracy import FORMS, SHALLOW
from mobileone.data.open import open_data
from mobileone.data.pixels import to_tensor
from mobileone.training.method.initial import start_residual_
from mobileone.variants import BranchMode, Variant, get_variant


def relative(got: Tensor, wanted: Tensor) -> float:
    return (
        (got.double() - wanted.double()).abs().max() / wanted.double().abs().max().clamp(min=1e-30)
    ).item()


def gradients(model: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    """Output of a training step; gradients are left in the model."""
    out = model(x)
    (out * weight).sum().backward()
    return out.detach()


GAINS: dict[str, Callable[[Tensor], Tensor]] = {
    "gains U(0.5, 1.5)": lambda weight: nn.init.uniform_(weight, 0.5, 1.5),
    # Gains near 0 leave channels that hardly vary, and the next BatchNorm blows their rounding up.
    "gains N(0.5, 0.5)": lambda weight: nn.init.normal_(weight, 0.5, 0.5),
}


def print_exactness(device: str) -> None:
    """Float64, batch 4, 64 px, random affine BatchNorm: the largest relative difference, tensor by tensor."""
    print("# float64, batch 4, 64 px, random BatchNorm; max |a − b| / max |b|, the worst tensor")
    print("# beside it the branched form against itself with NCHW activations: reordered sums alone")
    for title, init in GAINS.items():
        print(f"# {title}")
        print_variants(init, device)
    print_single_precision(device)


def print_single_precision(device: str) -> None:
    """Every form's float32 gradient against the branches' in float64, all along trainings on digits."""
    print("# float32, digits, batch 64, SGD 0.05: error of the whole gradient, relative to float64's norm")
    s0 = get_variant("mobileone_s0")
    print_gradient_errors(s0, 48, device, steps=(0, 3, 8, 15), seeds=2, residual=False)
    print_gradient_errors(SHALLOW, 32, device, steps=range(0, 201, 20), seeds=3, residual=True)


def print_gradient_errors(
    network: Variant, size: int, device: str, *, steps: Sequence[int], seeds: int, residual: bool
) -> None:
    """At these steps of a training by the branches."""
    print(f"# {network.name}, {size} px, {'residual start' if residual else 'from scratch'}")
    data = open_data("digits", split="train")
    pixels = torch.stack([to_tensor(data.read(index).decode()) for index in range(1024)]).float()
    images = F.interpolate(pixels, size=(size, size), mode="bilinear") / 127.5 - 1
    labels = torch.tensor(data.labels[:1024])
    for seed in range(seeds):
        torch.manual_seed(seed)
        model = mobileone.create_model(network, num_classes=10).train()
        if residual:
            start_residual_(model)
        mobileone.set_branch_mode(model, "branches").to(device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        for step in range(max(steps) + 1):
            chosen = torch.randint(0, 1024, (64,))
            x, y = images[chosen].to(device), labels[chosen].to(device)
            if step in steps:
                exact = whole_gradient(copy.deepcopy(model).double(), x.double(), y, mode="branches")
                errors = []
                for form in FORMS:
                    layout = torch.channels_last if form.channels_last else torch.contiguous_format
                    own = copy.deepcopy(model).to(memory_format=layout)
                    got = whole_gradient(own, x.contiguous(memory_format=layout), y, mode=form.mode)
                    errors.append(f"{form.title} {(got - exact).norm() / exact.norm():.1e}")
                print(f"seed {seed}, step {step:3}: {', '.join(errors)}", flush=True)
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()


def whole_gradient(model: nn.Module, x: Tensor, y: Tensor, *, mode: BranchMode) -> Tensor:
    """Of the loss, all parameters in one float64 vector."""
    mobileone.set_branch_mode(model, mode)
    F.cross_entropy(model(x), y).backward()
    return torch.cat([p.grad.double().flatten() for p in model.parameters() if p.grad is not None])


def print_variants(init_gain: Callable[[Tensor], Tensor], device: str) -> None:
    for name in mobileone.list_models():
        torch.manual_seed(0)
        start = mobileone.create_model(name, num_classes=10).double()
        for norm in start.modules():
            if isinstance(norm, nn.BatchNorm2d):
                init_gain(norm.weight)
                nn.init.normal_(norm.bias, std=0.5)
        start.to(device, memory_format=torch.channels_last)
        x, weight = (torch.randn(size).double().to(device) for size in ((4, 3, 64, 64), (4, 10)))
        results = []
        for mode, layout in [
            ("branches", torch.channels_last),
            ("online", torch.channels_last),
            ("branches", torch.contiguous_format),
        ]:
            model = mobileone.set_branch_mode(copy.deepcopy(start), mode).to(memory_format=layout)
            results.append((gradients(model, x.contiguous(memory_format=layout), weight), model))
        wanted, oracle = results[0]
        for label, (out, model) in zip(("online", "reordered"), results[1:], strict=True):
            pairs = zip(model.parameters(), oracle.parameters(), strict=True)
            grad = max(relative(p.grad, q.grad) for p, q in pairs)
            buffers = zip(model.buffers(), oracle.buffers(), strict=True)
            buffer = max(relative(p, q) for p, q in buffers)
            print(
                f"{name} {label:>9}: output {relative(out, wanted):.1e}, gradient {grad:.1e}, "
                f"buffer {buffer:.1e}",
                flush=True,
            )
