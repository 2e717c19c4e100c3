"""The last layer fitted at once: features of every training image, by all ranks, then the fit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from mobileone.errors import ConfigError, TrainingError
from mobileone.inference.torch_classifier import TorchClassifier
from mobileone.progress_bar import progress_bar
from mobileone.training.method.logistic_fit import LogisticFit, fit_logistic
from mobileone.training.method.loss import TrainLoss
from mobileone.training.run.prefetch import Waits
from mobileone.training.run.progress import EpochProgress
from mobileone.training.run.trainer import Trainer, fused


class LinearProbe:
    """Puts the fitted layer into a trainer's network.

    Args:
        trainer: of a configuration with a probe.
        log: takes a line of the log.
        show: whether to draw a bar on stderr.
        check_stop: called between batches; may raise.
    """

    def __init__(
        self, trainer: Trainer, *, log: Callable[[str], None], show: bool, check_stop: Callable[[], None]
    ) -> None:
        self.trainer, self.log, self.show, self.check_stop = trainer, log, show, check_stop

    def __call__(self, now: EpochProgress) -> LogisticFit:
        """Compute, fit, and set the network's last layer; `now` gets its loss and seconds, and bad images.

        Raises:
            ConfigError: if the network's head is no single linear layer.
            TrainingError: if a feature is not finite, or no image could be read.
            BadImageError: on an unreadable image under `"error"`.
        """
        started = time.perf_counter()
        trainer, probe = self.trainer, self.trainer.config.probe
        head = trainer.network.get_classifier()
        if not isinstance(head, nn.Linear):
            raise ConfigError(
                f"a probe fits a linear layer, the network's head is a {type(head).__name__}; "
                "call reset_classifier, or train by steps (probe.views=none)"
            )
        views, seen = self._features(now)
        kind = torch.int64 if trainer.config.task == "singlelabel" else torch.float32
        labels = torch.as_tensor(trainer.train_set.labels).to(kind)[seen.cpu()].to(seen.device)
        loss = TrainLoss.of(trainer.config, trainer.train_set.labels, head.out_features, device=seen.device)
        if loss.kind == "asymmetric":  # is not convex; to start from, its neighbour is as good
            loss = replace(loss, kind="bce")
        result = fit_logistic(
            [view[seen] for view in views],
            labels,
            loss=loss,
            num_classes=head.out_features,
            strengths=probe.strengths,
            held_out=probe.held_out,
        )
        with torch.no_grad():
            head.weight.copy_(result.weight)
            if head.bias is None:
                raise ConfigError("a probe needs a head with a bias; call reset_classifier")
            head.bias.copy_(result.bias)
        trainer.dist.broadcast_(head.parameters())  # other machines may round otherwise
        if trainer.ema is not None:
            average = trainer.averaged.get_classifier()
            average.load_state_dict(head.state_dict())
        now.steps, now.losses = trainer.steps_per_epoch, [result.loss]
        now.seconds += time.perf_counter() - started
        figure = "acc@1" if labels.ndim == 1 else "labels right"
        for trial in result.trials:
            mark = "  chosen" if trial.strength == result.strength else ""
            found = f"held-out loss {trial.loss:.4f}  {figure} {trial.accuracy:.2f}"
            self.log(f"penalty {trial.strength:g}: {found}{mark}")
        return result

    def _features(self, now: EpochProgress) -> tuple[Sequence[Tensor], Tensor]:
        """Features of all images in each view, float32 (N, D), and which images were read, bool (N,).

        Every rank computes its share, and all get all.
        """
        trainer, dist, config = self.trainer, self.trainer.dist, self.trainer.config
        num_images, mirrored = len(trainer.train_set), config.probe.views == "mirrored"
        network = TorchClassifier(fused(trainer.network), amp=trainer.step.amp)
        shape = (num_images, trainer.network.num_features)
        views = [torch.zeros(shape, device=dist.device) for _ in range(1 + mirrored)]
        seen = torch.zeros(num_images, device=dist.device)
        loader = trainer.plain_views(network.input_spec)
        waits = Waits(loader, dist.device)
        try:
            for batch in progress_bar(
                waits, title="features", unit="batch", hidden=not self.show, total=len(loader)
            ):
                now.bad += batch.bad
                if len(batch):
                    where = batch.indices.to(dist.device)
                    for view, images in zip(views, (batch.images, batch.images.flip(-1)), strict=False):
                        view[where] = network.embeddings(images)
                    seen[where] = 1
                self.check_stop()
        finally:
            loader.close()
        # Where a rank has none there are zeros, so the sum is everybody's.
        views = [dist.reduce_sum(view) for view in views]
        read = dist.reduce_sum(seen) > 0
        if not read.any():
            raise TrainingError("no training image could be read, so there are no features to fit")
        waits.settle()  # what has been read of the device has been waited for
        now.waiting = waits.seconds
        if not all(bool(view.isfinite().all()) for view in views):
            raise TrainingError(
                "a feature is NaN or infinite; the weights of init, or the precision that they compute in, "
                "are no use (amp=off is float32)"
            )
        return views, read
