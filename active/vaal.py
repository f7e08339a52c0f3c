"""VAAL's models (Sinha et al., ICCV 2019, https://arxiv.org/abs/1904.00370), trained in a query."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from active.vaal_networks import Autoencoder, discriminator
from datamodules.datamodule import Batch
from pretext.losses import vae_loss
from pretext.module import Scored
from pretext.trainable import Trainable

REDUCTIONS = ("elbo", "code")
CURVES = ("discriminator_acc", "kl_per_dim", "reconstruction")
DECAYS, DECAY = 25, 0.9  # the learning rates are multiplied so many times, by so much


class VAAL(Trainable):
    """A VAE whose code hides from a discriminator what is labeled.

    Each step takes as many labeled as unlabeled images. The VAE lowers the `vae_objective` of both
    and lets the discriminator take both for labeled; then the discriminator learns to tell them
    apart, from codes of the encoder alone (the study's code ran the decoder for nothing). The score
    of an image is the logit of its being unlabeled, from the mean of its code.

    Args:
        shape: (C, H, W) of an image.
        steps: that the training will take in all, for the learning rates' decay.
        width: channels of the first convolution, a multiple of 16 (study: 128).
        latent: dimensions of the code (study: 32, on Tiny ImageNet 64).
        beta: weight of the KL.
        adversary: weight of the discriminator's opinion in the VAE's loss.
        reduction: of the VAE's loss, see `vae_objective`.
        lr: of both Adams (study: 5e-4), multiplied by .9 24 times on the way.
        seed: of the noise in the codes, which differs between ranks.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        steps: int,
        width: int = 128,
        latent: int = 32,
        beta: float = 1.0,
        adversary: float = 1.0,
        reduction: str = "elbo",
        lr: float = 5e-4,
        seed: int = 0,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.vae = Autoencoder(shape, width, latent)
        self.discriminator = discriminator(latent)
        self.steps, self.lr, self.latent, self.seed = steps, lr, latent, seed
        self.beta, self.adversary, self.reduction = beta, adversary, reduction
        self.summary: dict[str, float] = {}  # of the last epoch

    def judge(self, mean: Tensor) -> Tensor:
        """(N, latent) -> (N,) logits of being labeled, in the weights' precision: bf16 ties."""
        with torch.autocast(mean.device.type, enabled=False):
            return self.discriminator(mean.to(self.dtype)).squeeze(1)

    def on_train_start(self) -> None:
        torch.manual_seed(self.seed + self.global_rank)

    def training_step(self, batch: Batch) -> None:
        pools = batch.images.chunk(2)
        vae, discriminator = self.optimizers()  # type: ignore[attr-defined]
        self._step_vae(vae, pools)
        self._step_discriminator(discriminator, pools)
        for schedule in self.lr_schedulers():  # type: ignore[union-attr]
            schedule.step()

    def _step_vae(self, optimizer: Any, pools: tuple[Tensor, ...]) -> None:
        losses = []
        for images in pools:
            mean, log_variance, output = self.vae(images)
            error, kl = vae_loss(images, output, mean, log_variance)
            losses.append(
                vae_objective(error, kl, images[0].numel(), self.beta, self.reduction)
                + self.adversary * bce(self.judge(mean), 1.0)
            )
            self._add("reconstruction", error.detach().sum(), len(error))
            self._add("kl_per_dim", kl.detach().sum() / self.latent, len(kl))
        optimizer.zero_grad()
        self.manual_backward(torch.stack(losses).sum())
        optimizer.step()

    def _step_discriminator(self, optimizer: Any, pools: tuple[Tensor, ...]) -> None:
        self.vae.eval()
        with torch.no_grad():
            means = [self.vae.encode(images)[0] for images in pools]
        self.vae.train()
        labeled, unlabeled = self.judge(torch.cat(means)).chunk(2)
        optimizer.zero_grad()  # also of what the VAE's loss left here
        # DDP waits for a gradient of each parameter, and the VAE has none now.
        with self._without_ddp():
            self.manual_backward(bce(labeled, 1.0) + bce(unlabeled, 0.0))
        gradients = [p.grad for p in self.discriminator.parameters() if p.grad is not None]
        self._reduce(gradients, "mean")
        optimizer.step()
        right = (labeled > 0).sum() + (unlabeled <= 0).sum()
        self._add("discriminator_acc", right.float(), 2 * len(labeled))

    def _without_ddp(self) -> contextlib.AbstractContextManager:
        if self.trainer.world_size == 1:
            return contextlib.nullcontext()
        return self.trainer.strategy.block_backward_sync()  # type: ignore[attr-defined]

    def on_train_epoch_end(self) -> None:
        means = {f"vaal/{name}": self._mean(name) for name in CURVES}
        self.log_dict(means, rank_zero_only=True)
        self.summary = {name: float(value) for name, value in means.items()}

    def predict_step(self, batch: Batch) -> Scored:
        mean, _ = self.vae.encode(batch.images)
        return Scored(batch.indices, {"score": -self.judge(mean)}, mean)

    def configure_optimizers(self) -> Any:
        optimizers = [
            torch.optim.Adam(part.parameters(), self.lr, fused=self.device.type in ("cpu", "cuda"))
            for part in (self.vae, self.discriminator)
        ]
        return optimizers, [torch.optim.lr_scheduler.LambdaLR(o, self._decay) for o in optimizers]

    def _decay(self, step: int) -> float:
        return DECAY ** (DECAYS * step // self.steps)


def vae_objective(error: Tensor, kl: Tensor, pixels: int, beta: float, reduction: str) -> Tensor:
    """The VAE's loss on one pool's images, a scalar.

    Args:
        error, kl: (N,) squared error, mean over pixels, and KL, summed over dimensions.
        pixels: values of an image, over which both are divided in `elbo`: mean of
            error + beta * kl / pixels. `code` is the published code's: mean of error + beta * *sum*
            over images of kl, which weighs the KL N * pixels times as much and flattens the code.

    >>> vae_objective(torch.ones(4), torch.full((4,), 2.0), 10, 1.0, "elbo").item()
    1.2000000476837158
    >>> vae_objective(torch.ones(4), torch.full((4,), 2.0), 10, 1.0, "code").item()
    9.0
    """
    if reduction == "code":
        return error.mean() + beta * kl.sum()
    return (error + beta * kl / pixels).mean()


def bce(logits: Tensor, target: float) -> Tensor:
    """Binary cross-entropy (nats), mean over (N,) logits, all with the same target."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
