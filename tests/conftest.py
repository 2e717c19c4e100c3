"""Fixtures that every part of the suite shares: networks, pictures made on the spot, real data at hand."""

from __future__ import annotations

import io
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from tests.local_hub import WRITE_TOKEN, LocalHub, serving
from torch import Tensor, nn

from mobileone.backends.fused_layers import layers_of
from mobileone.backends.quantized_network import QuantizedNetwork
from mobileone.backends.table import BACKENDS
from mobileone.backends.writer import check_installed
from mobileone.data.folder import ImageFolder, find_images
from mobileone.errors import MissingExtraError
from mobileone.exporting.parity import seeded_pictures
from mobileone.functional.kernels import native
from mobileone.model.create import create_model
from mobileone.model.network import MobileOne
from mobileone.processor import saturates_bytes
from mobileone.quantization.quantize_layers import quantize_layers
from mobileone.variants import Variant

SHARED_DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"


# Small tensors gain nothing by threads, which wait for each other at full speed: on a busy machine of 2 cores
# quantising a tiny network took ten times as long with two. A test that wants more says so.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # what a test has set, or a backend's session, is no other's


@pytest.fixture
def no_hang() -> Iterator[None]:
    """Ends a test that waits for ever, on a pipe that nobody writes into for example."""

    def give_up(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def no_kernels_yet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """No C library loaded, no warning given yet, and an empty cache folder, which it is."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("MOBILEONE_CACHE", str(folder))
    native.load.cache_clear()
    native.reasons_told.clear()
    yield folder
    native.load.cache_clear()
    native.reasons_told.clear()


@pytest.fixture
def tiny() -> Variant:
    """A network of our shape that is quick to run: k = 2, SE in the last two stages."""
    return Variant("tiny", (16, 16, 16, 32), num_conv_branches=2, depths=(1, 1, 2, 1), se_blocks=(0, 0, 1, 1))


@pytest.fixture
def network(tiny: Variant) -> MobileOne:
    """The tiny network at 32 px in eval mode, fused; its logits do depend on the picture."""
    model = create_model(tiny, num_classes=7, form="inference").eval()
    model.set_input_size(32)
    return model


@pytest.fixture
def local_hub() -> Iterator[LocalHub]:
    """A hub in this process, empty; nobody is pointed at it yet."""
    with serving() as hub:
        yield hub


@pytest.fixture
def at_local_hub(local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LocalHub:
    """The same, and the hub's library in this process talks to it, with a token that may write."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session, disable_progress_bars

    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, local_hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", local_hub.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
    monkeypatch.setenv("no_proxy", "*")
    disable_progress_bars()
    close_session()  # a client that another test opened knows that one's proxies
    return local_hub


@pytest.fixture(scope="session")
def needs_backend() -> Callable[[str], None]:
    """`needs_backend(name)` skips where its libraries are not installed, naming the extra."""

    def check(name: str) -> None:
        try:
            check_installed(name)
        except MissingExtraError as error:
            pytest.skip(str(error))

    return check


@pytest.fixture(scope="session")
def small_network() -> MobileOne:
    """A network with attention at 32 px, fused, in eval mode; its channels differ in range tenfold."""
    torch.manual_seed(0)
    variant = Variant("tiny", (16, 16, 16, 32), depths=(1, 1, 2, 1), se_blocks=(0, 0, 1, 1))
    model = create_model(variant, num_classes=7, form="inference").eval()
    model.set_input_size(32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.normal_(std=0.1)
            if "reparam_conv.weight" in name:
                spread = torch.logspace(-0.5, 0.5, len(parameter))
                parameter.mul_((spread / spread.square().mean().sqrt())[:, None, None, None])
    return model


@pytest.fixture(scope="session")
def small_pictures(small_network: MobileOne) -> Tensor:
    """Sixteen pictures for it, uint8 (16, 3, 32, 32)."""
    return seeded_pictures(small_network.input_spec, number=16)


@pytest.fixture(scope="session")
def other_pictures(small_network: MobileOne) -> Tensor:
    """Four that it was not calibrated on."""
    return seeded_pictures(small_network.input_spec, number=4, seed=1)


@pytest.fixture(scope="session")
def byte_sums_saturate() -> bool:
    """Whether ONNX Runtime and OpenVINO add products of bytes in 16 bits here: AVX2 without VNNI."""
    return saturates_bytes()


@pytest.fixture(scope="session")
def exact_bits(byte_sums_saturate: bool) -> Callable[[str], int]:
    """`exact_bits(format)`: of weights with which its runtime computes here what is in the file."""
    return lambda format: 7 if byte_sums_saturate and BACKENDS[format].saturates else 8


@pytest.fixture(scope="session")
def unsaturated_pictures(other_pictures: Tensor, byte_sums_saturate: bool) -> Tensor:
    """The same, without the white one where sums saturate: it moves logits most."""
    return other_pictures[[0, 2, 3]] if byte_sums_saturate else other_pictures


@pytest.fixture(scope="session")
def quantized(small_network: MobileOne, small_pictures: Tensor) -> QuantizedNetwork:
    """The small network in int8, calibrated once."""
    return quantize_layers(layers_of(small_network), small_pictures)


@pytest.fixture
def randomize() -> Callable[[nn.Module], nn.Module]:
    """Gives every BatchNorm statistics and gains of its own, as training would, then calls eval()."""

    def apply(module: nn.Module) -> nn.Module:
        for bn in module.modules():
            if isinstance(bn, nn.BatchNorm2d):
                nn.init.normal_(bn.running_mean, std=0.5)
                nn.init.uniform_(bn.running_var, 0.5, 2.0)
                if bn.affine:
                    nn.init.normal_(bn.weight, mean=0.5, std=0.5)
                    nn.init.normal_(bn.bias, std=0.5)
        return module.eval()

    return apply


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real weights and photos that lies beside the checkout; skips where it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no ../shared/data beside the checkout: the real weights and photos are not here")
    return SHARED_DATA.resolve()


def _picture(seed: int, height: int, width: int) -> PIL.Image.Image:
    """Smooth colours with some noise: compresses like a photo, and differs from seed to seed."""
    rng = np.random.default_rng(seed)
    coarse = PIL.Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), PIL.Image.Resampling.BICUBIC)).astype(int)
    noisy = smooth + rng.integers(-12, 13, (height, width, 3))
    return PIL.Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def picture() -> Callable[[int, int, int], PIL.Image.Image]:
    """`picture(seed, height, width)`."""
    return _picture


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """`encode(image, format, **save_options)`: the file's bytes."""

    def to_bytes(image: PIL.Image.Image, image_format: str, **options: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, image_format, **options)
        return buffer.getvalue()

    return to_bytes


@pytest.fixture
def flat_folder(tmp_path: Path) -> Path:
    """Three classes with 5, 4 and 4 JPEGs of 40 × 52 pixels."""
    for number in range(13):
        folder = tmp_path / "flat" / f"class{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        _picture(number, 40, 52).save(folder / f"{number:02}.jpg", quality=90)
    return tmp_path / "flat"


@pytest.fixture
def label_list(tmp_path: Path) -> Path:
    """A list of 24 training and 8 validation pictures of 36 × 40 px: bright, red, both, or none of these."""
    random = np.random.default_rng(0)
    rows = ["image,labels,split,group"]
    (tmp_path / "pictures").mkdir()
    for number in range(32):
        bright, red = number % 2 == 0, number % 4 < 2
        pixels = random.integers(0, 60, (36, 40, 3)) + 90 * bright
        pixels[..., 0] += 100 * red
        PIL.Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "pictures" / f"{number:02}.png")
        labels = ";".join(name for name, has in (("bright", bright), ("red", red)) if has)
        split = "train" if number < 24 else "val"
        rows.append(f"pictures/{number:02}.png,{labels},{split},{number // 2}")
    (tmp_path / "pictures.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path / "pictures.csv"


@pytest.fixture(scope="session")
def photos(shared_data: Path) -> ImageFolder:
    """300 real ImageNet photos."""
    return find_images(shared_data / "imagenet_val_300", split="val")


@pytest.fixture(scope="session")
def imagenette_zip(shared_data: Path) -> Path:
    """Imagenette, 128 px, zipped."""
    return shared_data / "imagenette_128_q70.zip"


@pytest.fixture(scope="session")
def synset_words(shared_data: Path) -> dict[str, str]:
    """wnid → names, as published for Caffe."""
    lines = (shared_data / "imagenet_synset_words.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines)


@pytest.fixture(scope="session")
def compiler() -> str:
    """The machine's compiler; tests that need one skip without."""
    found = next((name for name in ("gcc", "clang", "cc") if shutil.which(name)), None)
    if found is None:
        pytest.skip("needs a C compiler")
    return found
