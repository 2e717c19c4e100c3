"""MobileOne on PyTorch: build, train, fuse, verify, test and use it.

Names are imported when first used, so that what needs no torch does not load it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobileone.benchmarking.bench import bench as bench
    from mobileone.benchmarking.bench_report import bench_report as bench_report
    from mobileone.checkpoint.load import load_model as load_model
    from mobileone.checkpoint.store import save_model as save_model
    from mobileone.evaluation.evaluate import evaluate as evaluate
    from mobileone.exporting.export import export as export
    from mobileone.inference.predictor import Predictor as Predictor
    from mobileone.input_spec import InputSpec as InputSpec
    from mobileone.model.block import InferenceBlock as InferenceBlock
    from mobileone.model.block import MobileOneBlock as MobileOneBlock
    from mobileone.model.branch_mode import set_branch_mode as set_branch_mode
    from mobileone.model.create import create_model as create_model
    from mobileone.model.create import list_models as list_models
    from mobileone.model.network import MobileOne as MobileOne
    from mobileone.profiling.profile import profile as profile
    from mobileone.profiling.profile_report import profile_report as profile_report
    from mobileone.quantization.quantize import quantize as quantize
    from mobileone.reparam.expand import expand as expand
    from mobileone.reparam.fuse import reparameterize as reparameterize
    from mobileone.reparam.verify import verify as verify
    from mobileone.variants import BlockSpec as BlockSpec
    from mobileone.variants import Variant as Variant

_HOME = {
    "BlockSpec": "mobileone.variants",
    "InferenceBlock": "mobileone.model.block",
    "InputSpec": "mobileone.input_spec",
    "MobileOne": "mobileone.model.network",
    "MobileOneBlock": "mobileone.model.block",
    "Predictor": "mobileone.inference.predictor",
    "Variant": "mobileone.variants",
    "bench": "mobileone.benchmarking.bench",
    "bench_report": "mobileone.benchmarking.bench_report",
    "create_model": "mobileone.model.create",
    "evaluate": "mobileone.evaluation.evaluate",
    "export": "mobileone.exporting.export",
    "expand": "mobileone.reparam.expand",
    "list_models": "mobileone.model.create",
    "load_model": "mobileone.checkpoint.load",
    "profile": "mobileone.profiling.profile",
    "profile_report": "mobileone.profiling.profile_report",
    "quantize": "mobileone.quantization.quantize",
    "reparameterize": "mobileone.reparam.fuse",
    "save_model": "mobileone.checkpoint.store",
    "set_branch_mode": "mobileone.model.branch_mode",
    "verify": "mobileone.reparam.verify",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("mobileone")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'mobileone' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
