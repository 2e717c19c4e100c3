"""Claim (docs/fusion.md): expanding a fused network with real images hardly changes it in training mode.

Apple's S0 is expanded with n photos, or with noise, put into training mode, and asked for its top-1 on 60
other photos in one batch; counted is how often it is the fused network's.

Run: python -m benchmarks.expand_start
"""

import argparse
import sys
from pathlib import Path

import torch

import mobileone
from mobileone.data.folder import find_images
from mobileone.data.pixels import normalize, to_tensor
from mobileone.images.eval_transform import EvalTransform

SHARED = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
CALIBRATION_SIZES = (0, 2, 8, 32, 120)
NUM_TEST = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default=SHARED / "apple_s0" / "mobileone_s0.pth.tar", type=Path)
    parser.add_argument("--photos", default=SHARED / "imagenet_val_300", type=Path)
    arguments = parser.parse_args()
    for path in (arguments.weights, arguments.photos):
        if not path.exists():
            sys.exit(f"{path} is not there; pass --weights and --photos")
    fused = mobileone.load_model(arguments.weights)
    photos = find_images(arguments.photos, split=None)
    transform = EvalTransform.from_spec(fused.input_spec)
    order = torch.randperm(len(photos), generator=torch.Generator().manual_seed(0)).tolist()
    pixels = torch.stack(
        [to_tensor(transform(photos.read(i))) for i in order[: NUM_TEST + max(CALIBRATION_SIZES)]]
    )
    images = normalize(pixels, fused.input_spec)
    test, calibration = images[:NUM_TEST], images[NUM_TEST:]
    print(f"# torch {torch.__version__}, {torch.get_num_threads()} threads, {NUM_TEST} photos, seeds 0 to 2")
    with torch.no_grad():
        wanted = fused(test).argmax(1)
        for size in CALIBRATION_SIZES:
            agreements = []
            for seed in range(3):
                model = mobileone.expand(fused, calibration[:size] if size else None, seed=seed)
                mobileone.verify(fused, model, test[:2]).require()
                agreements.append(100 * (model.train()(test).argmax(1) == wanted).float().mean().item())
            name = f"{size} photos" if size else "noise"
            print(f"{name:>10}: " + "  ".join(f"{value:5.1f} %" for value in agreements))


if __name__ == "__main__":
    main()
