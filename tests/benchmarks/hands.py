"""A GAN's step as one would write it by hand to be fast, and with each of many regularizers.

Each loop reuses the scores that the loss has already asked for, and draws no number that it does not need.
"""

from __future__ import annotations

from typing import Any

import torch
from loops import Written
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 # torch's own name for it

from ganbench.training import Trainer

BATCH, DIM = 128, 2


class ByHand(Written):
    """A loop without a regularizer; each subclass adds one."""

    def __init__(self, trainer: Trainer, adam: dict[str, Any]) -> None:
        super().__init__(trainer, adam)
        self.rng = self.noise
        self.aligned = True
        """Whether it draws as many numbers as ganbench does, which draws in both turns."""

    def draw(self, player: str) -> None:
        """The random numbers of a turn."""

    def prepare(self) -> None:
        """Before D's turn."""

    def see(self, x: Tensor) -> Tensor:
        return x

    def score(self, x: Tensor) -> Tensor:
        return self.d(x)

    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor | None:
        """From samples and their scores."""

    def g_penalty(self, z: Tensor, fake: Tensor) -> Tensor | None:
        """From latents and what is made of them."""

    def prepare_g(self) -> None:
        """Before G's turn."""

    def before_move(self) -> None:
        pass

    def after_move(self) -> None:
        pass

    needs: tuple[str, ...] = ()
    """Which samples the penalty derives by."""

    def _step(self) -> None:
        real = torch.randn(BATCH, DIM, generator=self.data)
        z = torch.randn(BATCH, self.latent, generator=self.latents)
        with torch.no_grad():
            fake = self.g(z)
        self.z = z
        self.draw("d")
        self.prepare()
        x, y = self.see(real).requires_grad_("real" in self.needs), self.see(fake).requires_grad_("fake" in self.needs)
        r, f = self.score(x), self.score(y)
        loss = F.softplus(-r).mean() + F.softplus(f).mean()
        penalty = self.penalty(x, y, r, f)
        if penalty is not None:
            loss = loss + penalty
        self.opt_d.zero_grad()
        loss.backward()
        self.before_move()
        self.opt_d.step()
        self.after_move()
        z = torch.randn(BATCH, self.latent, generator=self.latents)
        self._train_d(on=False)
        self.draw("g")
        self.prepare_g()
        made = self.g(z)
        loss = F.softplus(-self.score(self.see(made))).mean()
        penalty = self.g_penalty(z, made)
        if penalty is not None:
            loss = loss + penalty
        self._move_g(loss)


class HandR1(ByHand):
    needs = ("real",)

    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(r.sum(), x, create_graph=True)
        return 10.0 / 2 * gradient.square().sum(1).mean()


class HandR2(ByHand):
    needs = ("fake",)

    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(f.sum(), fake, create_graph=True)
        return 10.0 / 2 * gradient.square().sum(1).mean()


class HandGradientPenalty(ByHand):
    def draw(self, player: str) -> None:
        if player == "d" or self.aligned:
            u = torch.rand(BATCH, 1, generator=self.rng)
            self.u = u if player == "d" else self.u

    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor:
        at = (self.u * x + (1 - self.u) * fake).requires_grad_()
        (gradient,) = torch.autograd.grad(self.d(at).sum(), at, create_graph=True)
        return 10.0 * (gradient.norm(2, dim=1) - 1).square().mean()


class HandVAT(ByHand):
    power = True

    def draw(self, player: str) -> None:
        if player == "d" or self.aligned:
            starts = [torch.randn(BATCH, DIM, generator=self.rng) for _ in range(2)]
            self.starts = starts if player == "d" else self.starts

    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor:
        return (self.divergence(x, r.detach(), 0) + self.divergence(fake, f.detach(), 1)) / 2

    def divergence(self, x: Tensor, logits: Tensor, i: int) -> Tensor:
        d = F.normalize(self.starts[i], dim=1)
        if self.power:
            probe = (x + 0.1 * d).requires_grad_()
            scores = self.d(probe)
            (gradient,) = torch.autograd.grad(scores.sum(), probe)
            d = F.normalize(gradient * (scores.detach() - logits).sign()[:, None], dim=1)
        else:
            d = F.normalize(self.gradients[i], dim=1) * (self.gradients[i] * d).sum(1, keepdim=True).sign()
        q = self.d(x.detach() + 2.0 * d)
        yes, no = F.softplus(-q) - F.softplus(-logits), F.softplus(q) - F.softplus(logits)
        p = torch.sigmoid(logits)
        return (p * yes + (1 - p) * no).mean()


class HandExactVAT(HandVAT):
    power = False
    needs = ("real", "fake")

    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor:
        self.gradients = torch.autograd.grad(r.sum() + f.sum(), (x, fake), retain_graph=True)
        return super().penalty(x, fake, r, f)


class Normalised(nn.Module):
    """A linear layer whose weight is divided by its largest singular value."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.u = F.normalize(torch.arange(1.0, len(self.weight) + 1).sin(), dim=0)
        for _ in range(15):
            self.iterate()

    @torch.no_grad()
    def iterate(self) -> None:
        self.v = F.normalize(self.weight.mT @ self.u, dim=0, eps=1e-12)
        self.u = F.normalize(self.weight @ self.v, dim=0, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight / torch.dot(self.u, self.weight @ self.v), self.bias)


class HandSpectralNorm(ByHand):
    def __init__(self, trainer: Trainer, adam: dict[str, Any]) -> None:
        super().__init__(trainer, adam)
        self.normalised = []
        for name, module in list(self.d.named_modules()):
            if isinstance(module, nn.Linear):
                parent, _, last = name.rpartition(".")
                layer = Normalised(module)
                setattr(self.d.get_submodule(parent), last, layer)
                self.normalised.append(layer)

    def prepare(self) -> None:
        for layer in self.normalised:
            layer.iterate()


class HandGradientClipping(ByHand):
    def before_move(self) -> None:
        nn.utils.clip_grad_norm_(self.d_params, 0.05)


class HandWeightClipping(ByHand):
    @torch.no_grad()
    def after_move(self) -> None:
        for p in self.d_params:
            p.clamp_(-0.3, 0.3)


class HandInstanceNoise(ByHand):
    def draw(self, player: str) -> None:
        """G's turn has no real samples; ganbench draws for them all the same."""
        sides = 2 if player == "d" or self.aligned else 1
        self.left = [torch.randn(BATCH, DIM, generator=self.rng) for _ in range(sides)]
        if player == "g":
            self.left = self.left[-1:]

    def see(self, x: Tensor) -> Tensor:
        return x + 0.1 * self.left.pop(0)


class Between(ByHand):
    """What penalties at points between real samples and fakes share."""

    def draw(self, player: str) -> None:
        if player == "d" or self.aligned:
            u = torch.rand(BATCH, 1, generator=self.rng)
            self.u = u if player == "d" else self.u

    def gradient(self, x: Tensor, fake: Tensor) -> Tensor:
        at = (self.u * x + (1 - self.u) * fake).requires_grad_()
        (gradient,) = torch.autograd.grad(self.d(at).sum(), at, create_graph=True)
        return gradient


class HandLipschitz(Between):
    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor:
        return 10.0 * F.relu(self.gradient(x, fake).norm(2, dim=1) - 1).square().mean()


class HandZeroCentered(Between):
    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor:
        return 100.0 * self.gradient(x, fake).square().sum(1).mean()


class HandMaxGradient(Between):
    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor:
        return self.gradient(x, fake).square().sum(1).amax()


class HandDragan(ByHand):
    def draw(self, player: str) -> None:
        if player == "d" or self.aligned:
            drawn = torch.rand(BATCH, DIM, generator=self.rng), torch.rand(BATCH, 1, generator=self.rng)
            self.drawn = drawn if player == "d" else self.drawn

    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor:
        u, a = self.drawn
        at = (x + a * 0.5 * x.std(correction=0) * u).requires_grad_()
        (gradient,) = torch.autograd.grad(self.d(at).sum(), at, create_graph=True)
        return 10.0 * (gradient.norm(2, dim=1) - 1).square().mean()


class HandAnalyticNoise(ByHand):
    needs = ("real", "fake")

    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor:
        of_x, of_fake = torch.autograd.grad(r.sum() + f.sum(), (x, fake), create_graph=True)
        real = torch.sigmoid(-r).square() * of_x.square().sum(1)
        return 0.1 / 2 * (real.mean() + (torch.sigmoid(f).square() * of_fake.square().sum(1)).mean())


class HandAdversarialLipschitz(ByHand):
    def draw(self, player: str) -> None:
        if player == "d" or self.aligned:
            starts = torch.cat([torch.randn(BATCH, DIM, generator=self.rng) for _ in range(2)])
            drawn = starts, torch.cat([torch.rand(BATCH, 1, generator=self.rng) for _ in range(2)])
            self.drawn = drawn if player == "d" else self.drawn

    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor:
        both, level = torch.cat([x, fake]), torch.cat([r, f])
        probe = (both + 10.0 * F.normalize(self.drawn[0], dim=1)).requires_grad_()
        scores = self.d(probe)
        (gradient,) = torch.autograd.grad(scores.sum(), probe)
        d = F.normalize(gradient * (scores - level).detach().sign()[:, None], dim=1)
        length = 0.1 + 9.9 * self.drawn[1]
        slope = (level - self.d(both + length * d)).abs() / length[:, 0]
        return 100.0 * F.relu(slope - 1).square().mean()


class HandGradientNormalization(ByHand):
    def score(self, x: Tensor) -> Tensor:
        x = x if x.requires_grad else x.requires_grad_()
        scores = self.d(x)
        (gradient,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
        normalised: Tensor = scores / (gradient.norm(2, dim=1) + scores.abs())
        return normalised


class HandEpsilonDrift(ByHand):
    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor:
        return 0.001 * r.square().mean()


class HandLeCam(ByHand):
    means = (0.0, 0.0)

    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor | None:
        with torch.no_grad():
            self.means = tuple(0.99 * a + 0.01 * s.mean() for a, s in zip(self.means, (r, f), strict=True))
        if not self.step:
            return None
        return 0.3 * ((r - self.means[1]).square().mean() + (f - self.means[0]).square().mean())


class HandWeightDecay(ByHand):
    def before_move(self) -> None:
        torch._foreach_add_([p.grad for p in self.d_params], [p.detach() for p in self.d_params], alpha=1e-4)


class HandOrthogonal(ByHand):
    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor:
        products = [w @ w.mT for w in self.d_params if w.dim() > 1]
        return 1e-4 * torch.stack([(p - p.diagonal().diag()).square().sum() for p in products]).sum()


class HandHistoricalAveraging(ByHand):
    @torch.no_grad()
    def before_move(self) -> None:
        if not self.step:
            self.past = [torch.zeros_like(p) for p in self.d_params]
        torch._foreach_lerp_(self.past, self.d_params, 1 / (self.step + 1))
        torch._foreach_add_([p.grad for p in self.d_params], torch._foreach_sub(self.d_params, self.past), alpha=2.0)


class HandValueClipping(ByHand):
    def before_move(self) -> None:
        nn.utils.clip_grad_value_(self.d_params, 1e-3)


class HandAdaptiveClipping(ByHand):
    @torch.no_grad()
    def before_move(self) -> None:
        for p in self.d_params:
            if p.dim() > 1:
                size, bound = p.grad.norm(2, 1, keepdim=True), 0.01 * p.norm(2, 1, keepdim=True).clamp_(min=1e-3)
            else:
                size, bound = p.grad.norm(), 0.01 * p.norm().clamp_(min=1e-3)
            p.grad.mul_((bound / size).clamp_(max=1.0))


class HandCentralization(ByHand):
    def before_move(self) -> None:
        for p in self.d_params:
            if p.dim() > 1:
                p.grad.sub_(p.grad.mean(1, keepdim=True))


class HandConsistency(ByHand):
    def draw(self, player: str) -> None:
        if player == "d" or self.aligned:
            n = torch.randn(BATCH, DIM, generator=self.rng)
            self.n = n if player == "d" else self.n

    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor:
        return 10.0 * (r - self.d(x + 0.1 * self.n)).square().mean()


class HandBalancedConsistency(ByHand):
    def draw(self, player: str) -> None:
        if player == "d" or self.aligned:
            drawn = [torch.randn(BATCH, DIM, generator=self.rng) for _ in range(2)]
            self.drawn = drawn if player == "d" else self.drawn

    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor:
        real, made = (self.d(y + 0.1 * n) for y, n in zip((x, fake), self.drawn, strict=True))
        return 10.0 * (r - real).square().mean() + 10.0 * (f - made).square().mean()


class HandLatentConsistency(ByHand):
    def draw(self, player: str) -> None:
        self.n = torch.randn(BATCH, self.latent, generator=self.rng)

    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor:
        with torch.no_grad():
            near = self.g(self.z + 0.05 * self.n)
        return 5.0 * (f - self.d(near)).square().mean()

    def g_penalty(self, z: Tensor, fake: Tensor) -> Tensor:
        return -0.5 * (fake - self.g(z + 0.05 * self.n)).square().mean()


class HandModeSeeking(ByHand):
    def g_penalty(self, z: Tensor, fake: Tensor) -> Tensor:
        half = BATCH // 2
        ratio = (fake[:half] - fake[half:]).abs().mean() / (z[:half] - z[half:]).abs().mean()
        return 1.0 / (ratio + 1e-5)


class HandPathLength(ByHand):
    a = 0.0

    def draw(self, player: str) -> None:
        if player == "g":
            self.y = torch.randn(BATCH // 2, DIM, generator=self.rng)

    def g_penalty(self, z: Tensor, fake: Tensor) -> Tensor:
        start = z[: BATCH // 2].requires_grad_()
        (gradient,) = torch.autograd.grad((self.g(start) * self.y).sum(), start, create_graph=True)
        lengths = gradient.norm(2, dim=1)
        mean = self.a + 0.01 * (lengths.mean() - self.a)
        self.a = mean.detach()
        return 2.0 * (lengths - mean).square().mean()


class Orthonormal(nn.Module):
    """A linear layer whose weight is made orthonormal by Bjorck's iteration, once for each turn."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def iterate(self) -> None:
        w = self.weight
        w = w / (w.abs().sum(1).amax() * w.abs().sum(0).amax()).sqrt()
        for _ in range(5):
            w = 1.5 * w - 0.5 * ((w @ w.mT) @ w if w.shape[0] <= w.shape[1] else w @ (w.mT @ w))
        self.w = w

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.w, self.bias)


class HandBjorck(ByHand):
    def __init__(self, trainer: Trainer, adam: dict[str, Any]) -> None:
        super().__init__(trainer, adam)
        self.made = []
        for name, module in list(self.d.named_modules()):
            if isinstance(module, nn.Linear):
                parent, _, last = name.rpartition(".")
                layer = Orthonormal(module)
                setattr(self.d.get_submodule(parent), last, layer)
                self.made.append(layer)

    def prepare(self) -> None:
        for layer in self.made:
            layer.iterate()

    def prepare_g(self) -> None:
        with torch.no_grad():
            self.prepare()


class HandSpectralIsometry(ByHand):
    def __init__(self, trainer: Trainer, adam: dict[str, Any]) -> None:
        super().__init__(trainer, adam)
        self.matrices = [w for w in self.d_params if w.dim() > 1]
        self.v = [F.normalize(torch.arange(1.0, len(w) + 1).sin(), dim=0) for w in self.matrices]

    @torch.no_grad()
    def prepare(self) -> None:
        for i, w in enumerate(self.matrices):
            for _ in range(2):
                self.v[i] = F.normalize(w @ (w.mT @ self.v[i]) - self.v[i], dim=0)

    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor:
        return (
            0.1 * torch.stack([(w @ (w.mT @ v) - v).norm() for w, v in zip(self.matrices, self.v, strict=True)]).sum()
        )


class HandFeatureMatching(ByHand):
    """The codes of the fakes are those of which the score is made."""

    def _step(self) -> None:
        self.code = None
        super()._step()

    def score(self, x: Tensor) -> Tensor:
        *hidden, head = self.d.layers
        for layer in hidden:
            x = layer(x)
        self.code = x
        return head(x)[:, 0]

    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> None:
        self.x = x

    def g_penalty(self, z: Tensor, fake: Tensor) -> Tensor:
        made = self.code
        with torch.no_grad():
            self.score(self.x)
        return (self.code.mean(0) - made.mean(0)).square().sum()


class HandTopK(ByHand):
    def _step(self) -> None:
        self.g_turn = False
        super()._step()

    def prepare_g(self) -> None:
        self.g_turn = True

    def score(self, x: Tensor) -> Tensor:
        scores = self.d(x)
        if not self.g_turn:
            return scores
        k = -(-int(BATCH * max(0.99 ** (self.step // 2), 0.5) * 1e6) // 1e6)
        chosen = scores.detach() >= scores.detach().topk(int(k)).values[-1]
        return torch.where(chosen, BATCH / k, 0.0) * (scores - scores.detach()) + scores.detach()
