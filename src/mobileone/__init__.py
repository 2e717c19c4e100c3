"""MobileOne on PyTorch: build, train, fuse, verify, test and use it.

Names are imported when first used, so that what needs no torch does not load it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mobileone.distribution import needing_pytorch, package_version

if TYPE_CHECKING:
    from mobileone.backends.artifact import Artifact as Artifact
    from mobileone.benchmarking.bench import bench as bench
    from mobileone.benchmarking.bench_report import bench_report as bench_report
    from mobileone.calibration.calibrate import calibrate as calibrate
    from mobileone.calibration.store_decision import store_decision as store_decision
    from mobileone.calibration.thresholds import Target as Target
    from mobileone.checkpoint.convert import convert as convert
    from mobileone.checkpoint.inspect import describe as describe
    from mobileone.checkpoint.load import load_model as load_model
    from mobileone.checkpoint.store import save_model as save_model
    from mobileone.curation.check_labels import check_labels as check_labels
    from mobileone.curation.embed import embed as embed
    from mobileone.curation.embeddings import Embeddings as Embeddings
    from mobileone.curation.similar import similar as similar
    from mobileone.decision import Decision as Decision
    from mobileone.errors import ArtifactError as ArtifactError
    from mobileone.errors import BadImageError as BadImageError
    from mobileone.errors import CheckpointError as CheckpointError
    from mobileone.errors import ConfigError as ConfigError
    from mobileone.errors import DataError as DataError
    from mobileone.errors import DownloadError as DownloadError
    from mobileone.errors import ExportError as ExportError
    from mobileone.errors import InferenceError as InferenceError
    from mobileone.errors import MissingExtraError as MissingExtraError
    from mobileone.errors import MobileOneError as MobileOneError
    from mobileone.errors import MobileOneWarning as MobileOneWarning
    from mobileone.errors import PreemptedError as PreemptedError
    from mobileone.errors import ProfileError as ProfileError
    from mobileone.errors import PublishError as PublishError
    from mobileone.errors import ReparameterizeError as ReparameterizeError
    from mobileone.errors import TrainingError as TrainingError
    from mobileone.errors import UnsafeCheckpointError as UnsafeCheckpointError
    from mobileone.errors import VerificationError as VerificationError
    from mobileone.evaluation.evaluate import evaluate as evaluate
    from mobileone.evaluation.explain import draw_explanations as draw_explanations
    from mobileone.evaluation.explain import explain as explain
    from mobileone.exporting.export import export as export
    from mobileone.inference.batch_predictor import BatchPredictor as BatchPredictor
    from mobileone.inference.predictor import Predictor as Predictor
    from mobileone.input_spec import InputSpec as InputSpec
    from mobileone.model.block import InferenceBlock as InferenceBlock
    from mobileone.model.block import MobileOneBlock as MobileOneBlock
    from mobileone.model.branch_mode import set_branch_mode as set_branch_mode
    from mobileone.model.create import create_model as create_model
    from mobileone.model.create import list_models as list_models
    from mobileone.model.network import MobileOne as MobileOne
    from mobileone.parts.embed_parts import embed_parts as embed_parts
    from mobileone.parts.evaluate_parts import evaluate_parts as evaluate_parts
    from mobileone.parts.merge import merge as merge
    from mobileone.parts.predict_parts import predict_parts as predict_parts
    from mobileone.profiling.cost import network_cost as network_cost
    from mobileone.profiling.profile import profile as profile
    from mobileone.profiling.profile_report import profile_report as profile_report
    from mobileone.publishing.push import Pushed as Pushed
    from mobileone.publishing.push import push as push
    from mobileone.quantization.quantize import quantize as quantize
    from mobileone.reparam.expand import expand as expand
    from mobileone.reparam.fuse import reparameterize as reparameterize
    from mobileone.reparam.verify import verify as verify
    from mobileone.serving.app import ServeLimits as ServeLimits
    from mobileone.serving.app import make_app as make_app
    from mobileone.serving.serve import serve as serve
    from mobileone.training.config.augmentation import Augment as Augment
    from mobileone.training.config.augmentation import Phase as Phase
    from mobileone.training.config.hold_out import HoldOut as HoldOut
    from mobileone.training.config.objective import Distill as Distill
    from mobileone.training.config.objective import Mix as Mix
    from mobileone.training.config.objective import Objective as Objective
    from mobileone.training.config.optimization import Optim as Optim
    from mobileone.training.config.probe import Probe as Probe
    from mobileone.training.config.recipe import recipe as recipe
    from mobileone.training.config.resources import Compute as Compute
    from mobileone.training.config.resources import Loading as Loading
    from mobileone.training.config.resources import Saving as Saving
    from mobileone.training.config.train_config import TrainConfig as TrainConfig
    from mobileone.training.config.train_config import override as override
    from mobileone.training.run.adapt import adapt as adapt
    from mobileone.training.run.fit import fit as fit
    from mobileone.training.run.fit_folds import fit_folds as fit_folds
    from mobileone.training.watch.callback import Callback as Callback
    from mobileone.training.watch.open_tracker import open_tracker as open_tracker
    from mobileone.variants import VARIANTS as VARIANTS
    from mobileone.variants import BlockSpec as BlockSpec
    from mobileone.variants import Variant as Variant
    from mobileone.web.build_site import build_site as build_site

_HOME = {
    "Artifact": "mobileone.backends.artifact",
    "ArtifactError": "mobileone.errors",
    "Augment": "mobileone.training.config.augmentation",
    "BadImageError": "mobileone.errors",
    "BatchPredictor": "mobileone.inference.batch_predictor",
    "BlockSpec": "mobileone.variants",
    "Callback": "mobileone.training.watch.callback",
    "CheckpointError": "mobileone.errors",
    "Compute": "mobileone.training.config.resources",
    "ConfigError": "mobileone.errors",
    "Decision": "mobileone.decision",
    "DataError": "mobileone.errors",
    "Distill": "mobileone.training.config.objective",
    "DownloadError": "mobileone.errors",
    "Embeddings": "mobileone.curation.embeddings",
    "ExportError": "mobileone.errors",
    "HoldOut": "mobileone.training.config.hold_out",
    "InferenceBlock": "mobileone.model.block",
    "InferenceError": "mobileone.errors",
    "InputSpec": "mobileone.input_spec",
    "Loading": "mobileone.training.config.resources",
    "MissingExtraError": "mobileone.errors",
    "Mix": "mobileone.training.config.objective",
    "MobileOne": "mobileone.model.network",
    "MobileOneBlock": "mobileone.model.block",
    "MobileOneError": "mobileone.errors",
    "MobileOneWarning": "mobileone.errors",
    "Objective": "mobileone.training.config.objective",
    "Optim": "mobileone.training.config.optimization",
    "Phase": "mobileone.training.config.augmentation",
    "Predictor": "mobileone.inference.predictor",
    "PreemptedError": "mobileone.errors",
    "Probe": "mobileone.training.config.probe",
    "ProfileError": "mobileone.errors",
    "PublishError": "mobileone.errors",
    "Pushed": "mobileone.publishing.push",
    "ReparameterizeError": "mobileone.errors",
    "Saving": "mobileone.training.config.resources",
    "ServeLimits": "mobileone.serving.app",
    "Target": "mobileone.calibration.thresholds",
    "TrainConfig": "mobileone.training.config.train_config",
    "TrainingError": "mobileone.errors",
    "UnsafeCheckpointError": "mobileone.errors",
    "VARIANTS": "mobileone.variants",
    "Variant": "mobileone.variants",
    "VerificationError": "mobileone.errors",
    "adapt": "mobileone.training.run.adapt",
    "bench": "mobileone.benchmarking.bench",
    "bench_report": "mobileone.benchmarking.bench_report",
    "build_site": "mobileone.web.build_site",
    "calibrate": "mobileone.calibration.calibrate",
    "check_labels": "mobileone.curation.check_labels",
    "convert": "mobileone.checkpoint.convert",
    "create_model": "mobileone.model.create",
    "describe": "mobileone.checkpoint.inspect",
    "draw_explanations": "mobileone.evaluation.explain",
    "embed": "mobileone.curation.embed",
    "embed_parts": "mobileone.parts.embed_parts",
    "evaluate": "mobileone.evaluation.evaluate",
    "evaluate_parts": "mobileone.parts.evaluate_parts",
    "explain": "mobileone.evaluation.explain",
    "expand": "mobileone.reparam.expand",
    "export": "mobileone.exporting.export",
    "fit": "mobileone.training.run.fit",
    "fit_folds": "mobileone.training.run.fit_folds",
    "list_models": "mobileone.model.create",
    "load_model": "mobileone.checkpoint.load",
    "make_app": "mobileone.serving.app",
    "merge": "mobileone.parts.merge",
    "network_cost": "mobileone.profiling.cost",
    "open_tracker": "mobileone.training.watch.open_tracker",
    "override": "mobileone.training.config.train_config",
    "predict_parts": "mobileone.parts.predict_parts",
    "profile": "mobileone.profiling.profile",
    "profile_report": "mobileone.profiling.profile_report",
    "push": "mobileone.publishing.push",
    "quantize": "mobileone.quantization.quantize",
    "recipe": "mobileone.training.config.recipe",
    "reparameterize": "mobileone.reparam.fuse",
    "save_model": "mobileone.checkpoint.store",
    "serve": "mobileone.serving.serve",
    "set_branch_mode": "mobileone.model.branch_mode",
    "similar": "mobileone.curation.similar",
    "store_decision": "mobileone.calibration.store_decision",
    "verify": "mobileone.reparam.verify",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return package_version()
    if name in _HOME:
        with needing_pytorch(f"mobileone.{name}"):
            return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'mobileone' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
