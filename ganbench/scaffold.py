"""Writes a plugin file or a grid to start from; each works as it is, so that a change starts from something right."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from pathlib import Path

from ganbench.component import NAME
from ganbench.errors import ConfigError, an, nearest

GRID = "grid"


def write(role: str, name: str) -> list[str]:
    """Write ``name.py`` for a component of ``role``, or ``name.toml`` for a grid, into the current folder.

    Returns:
        Lines to print: what was written, and the next command.

    Raises:
        ConfigError: there is no such role, the name does not do, or the file is there already or cannot be written.
    """
    if role not in {*TEMPLATES, GRID}:
        raise ConfigError(
            f"there is no template for {role!r}", place="ganbench new", hint=nearest(role, [*TEMPLATES, GRID])
        )
    if not (NAME.fullmatch(name) and name[0].isalpha()):
        tidy = "-".join(re.findall(r"[a-z][a-z0-9]*|(?<=[a-z])[0-9]+", name.lower()))
        hint = f"such as {tidy!r}" if NAME.fullmatch(tidy) else "such as 'my-regularizer'"
        raise ConfigError(
            f"{name!r} is not lower-case words joined by hyphens that begin with a letter",
            place="ganbench new",
            hint=hint,
        )
    path = Path(f"{name}.toml" if role == GRID else f"{name.replace('-', '_')}.py")
    if path.exists():
        raise ConfigError("there is such a file already", place=str(path), hint="choose another name, or move it away")
    if role == GRID:
        _create(path, GRID_TEMPLATE.format(name=name))
        return [f"wrote {path}", f"next: ganbench run --grid {path}"]
    _check_free(role, name, path)
    text = TEMPLATES[role].format(name=name, cls=_class_name(role, name), measure=path.stem)
    _create(path, text)
    return [
        f"wrote {path}, a component of role {role} that works as it is",
        f"next: ganbench check {path}",
        f'then: plugins = ["{path}"] under [run] of a grid, and {_use(role, name)}',
    ]


def _use(role: str, name: str) -> str:
    if role == "extractor":
        return f'extractor = "{name}" in the table of a metric'
    return f'{"metrics" if role == "metric" else role} = ["{name}"] under [grid]'


def _class_name(role: str, name: str) -> str:
    """``MyRegularizer`` for ``my-regularizer``; with the role behind it if the template uses that name itself."""
    cls = "".join(part.capitalize() for part in name.split("-"))
    taken = keyword.iskeyword(cls) or re.search(rf"\b{cls}\b", TEMPLATES[role], re.IGNORECASE)
    return cls + role.capitalize() if taken else cls


def _check_free(role: str, name: str, path: Path) -> None:
    """Refuse a name that another component has, or a file that would hide a module from the programs beside it."""
    from ganbench.registry import installed

    if name in installed().names(role):
        origin = installed().origin(installed().get(role, name))
        raise ConfigError(
            f"there is {an(role)} {name!r} already, from {origin}", place="ganbench new", hint="choose another name"
        )
    if path.stem in sys.stdlib_module_names or importlib.util.find_spec(path.stem) is not None:
        raise ConfigError(
            f"{path} would hide the module {path.stem!r} from Python", place="ganbench new", hint="choose another name"
        )


def _create(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror or error}", place=str(path)) from None


_END = """

@hookimpl
def ganbench_components() -> list[type[Component]]:
    return [{cls}]
"""

TEMPLATES = {
    "dataset": '''\
import math
from dataclasses import dataclass
from typing import Literal

import torch

from ganbench import Component, Dataset, Sampler, Samples, SampleSpec, field, hookimpl


@dataclass(frozen=True)
class Circle:
    radius: float

    def sample(self, n: int, rng: torch.Generator) -> Samples:
        angle = 2 * math.pi * torch.rand(n, generator=rng)
        return Samples(self.radius * torch.stack([angle.cos(), angle.sin()], dim=1))


class {cls}(Dataset, name="{name}"):
    """x = radius (cos a, sin a), a ~ U(0, 2 pi): an endless source on R^2."""

    metrics = ("sliced-wasserstein",)  # used where a grid names none
    radius: float = field(default=1.0, gt=0.0, doc="of the circle")

    def spec(self) -> SampleSpec:
        return SampleSpec(shape=(2,))

    def load(self, split: Literal["train", "test"], rng: torch.Generator) -> Sampler:
        return Circle(self.radius)
''',
    "generator": '''\
from torch import Tensor, nn

from ganbench import Component, Generator, SampleSpec, field, hookimpl


class Net(nn.Module):
    def __init__(self, latent: int, width: int, spec: SampleSpec) -> None:
        super().__init__()
        self.spec = spec
        self.body = nn.Sequential(nn.Linear(latent, width), nn.ReLU(), nn.Linear(width, spec.size))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        x: Tensor = self.body(z).view(-1, *self.spec.shape)
        low, high = self.spec.low, self.spec.high
        return low + (high - low) * x.sigmoid() if self.spec.bounded else x


class {cls}(Generator, name="{name}"):
    """z [B, latent] -> linear -> ReLU -> linear -> x [B, *shape], for data of any shape and range."""

    width: int = field(default=128, ge=1, doc="units of the hidden layer")

    def build(self, spec: SampleSpec) -> nn.Module:
        return Net(self.latent, self.width, spec)
''',
    "discriminator": '''\
from torch import Tensor, nn

from ganbench import Component, Discriminator, SampleSpec, field, hookimpl


class Net(nn.Module):
    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(size, width), nn.LeakyReLU(0.2), nn.Linear(width, 1))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        scores: Tensor = self.body(x.flatten(1))
        return scores[:, 0]  # [B], not [B, 1]


class {cls}(Discriminator, name="{name}"):
    """x [B, *shape] -> linear -> leaky ReLU 0.2 -> linear -> scores [B], for data of any shape."""

    width: int = field(default=128, ge=1, doc="units of the hidden layer")

    def build(self, spec: SampleSpec) -> nn.Module:
        return Net(spec.size, self.width)
''',
    "loss": '''\
from torch import Tensor
from torch.nn.functional import softplus

from ganbench import Component, Loss, hookimpl


class {cls}(Loss, name="{name}"):
    """D: E softplus(-r) + E softplus(f); G: E softplus(-f). Both are minimised."""

    def d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(-real).mean() + softplus(fake).mean()

    def g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        return softplus(-fake).mean()
''',
    "regularizer": '''\
from torch import Tensor

from ganbench import Component, DStep, Regularizer, field, hookimpl


class {cls}(Regularizer, name="{name}"):
    """(gamma / 2) E ||grad_x D(x)||^2 over real x."""

    gamma: float = field(default=10.0, ge=0.0, doc="coefficient; the penalty has half of it")

    def d_penalty(self, at: DStep) -> Tensor:
        return self.gamma / 2 * at.score_grad(at.real).square().flatten(1).sum(1).mean()
''',
    "optimizer": '''\
import torch

from ganbench import Component, Optimizer, Params, field, hookimpl


class {cls}(Optimizer, name="{name}"):
    """p <- p - lr m; m <- beta m + (1 - beta) g, from m = 0. Elementwise, so that seeds can be stacked."""

    beta: float = field(default=0.5, ge=0.0, lt=1.0, doc="weight of the past in the mean of the gradients")

    def init(self, params: Params) -> dict[str, Params]:
        return {{"m": {{name: torch.zeros_like(p) for name, p in params.items()}}}}

    def update(
        self, params: Params, grads: Params, slots: dict[str, Params], lr: float
    ) -> tuple[Params, dict[str, Params]]:
        m = {{name: self.beta * slots["m"][name] + (1 - self.beta) * g for name, g in grads.items()}}
        return {{name: p - lr * m[name] for name, p in params.items()}}, {{"m": m}}
''',
    "update": '''\
from ganbench import Component, Game, State, Turns, Update, hookimpl


class {cls}(Update, name="{name}"):
    """G moves first, then D against the generator that came out."""

    def step(self, game: Game, state: State, turns: Turns) -> State:
        grads, state = game.g_grads(state, turns.g)
        state = game.apply_g(state, grads)
        for turn in turns.d:
            grads, state = game.d_grads(state, turn)
            state = game.apply_d(state, grads)
        return state
''',
    "metric": '''\
from collections.abc import Mapping

from torch import Generator, Tensor

from ganbench import Component, Measure, Metric, hookimpl


class {cls}(Metric, name="{name}"):
    """||mean(fake) - mean(real)||, in the units of the data."""

    measures = (Measure("{measure}", better="lower"),)

    def compute(self, fake: Tensor, real: Tensor, rng: Generator) -> Mapping[str, float]:
        difference = fake.flatten(1).mean(0) - real.flatten(1).mean(0)
        return {{"{measure}": float(difference.norm())}}
''',
    "extractor": '''\
import torch
from torch import Tensor

from ganbench import Component, Dataset, Extractor, Features, hookimpl


def moments(x: Tensor) -> Tensor:
    flat = x.flatten(1)
    return torch.cat([flat, flat.square()], dim=1)


class {cls}(Extractor, name="{name}"):
    """x [n, *shape] -> [x, x^2] [n, 2 d]: metrics then compare first and second moments."""

    def load(self, dataset: Dataset | None, device: torch.device) -> Features:
        return moments
''',
}
TEMPLATES = {role: text + _END for role, text in TEMPLATES.items()}

GRID_TEMPLATE = """\
# Every combination below is trained with the same seeds: ganbench run --grid {name}.toml, a minute on a laptop.
# What there is: ganbench list. What a name means: ganbench show regularizer r1.
# What would be trained: ganbench plan --grid {name}.toml

[run]
name = "{name}"
seeds = 3                           # 0, 1, 2, or a list of them
steps = 500                         # whole training iterations; 5_000 and more for results
batch = 64
samples = 1_000                     # for each evaluation
# plugins = ["my_regularizer.py"]   # your own, relative to this file; ganbench new regularizer NAME writes one

[grid]
dataset = "ring"                    # a list of alternatives wherever one is named
generator = "mlp"
discriminator = "mlp"
loss = "non-saturating"
regularizer = [
    "none",
    {{ use = "r1", gamma = {{ sweep = [0.1, 1.0] }} }},   # two alternatives
    # ["spectral-norm", "r1"],                         # both at once
]

# [[exclude]]                       # combinations to leave out, with the reason
# loss = "wasserstein"
# regularizer = "none"
# because = "an unconstrained critic has no Wasserstein meaning"
"""
