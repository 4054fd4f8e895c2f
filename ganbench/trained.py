"""A trained generator, read back from the folder of its trial."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganbench import checkpoint, codeprint, players
from ganbench.cell import Cell
from ganbench.errors import ConfigError, GanbenchError, ResultsError
from ganbench.evaluation import generate
from ganbench.initial import initial_state
from ganbench.networks import Network
from ganbench.players import Which
from ganbench.records import read_json
from ganbench.registry import Registry
from ganbench.samples import Samples, SampleSpec
from ganbench.state import State

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Trained:
    """The generator of one trial as its last checkpoint has it.

    Args:
        cell: what was trained.
        seed: of the trial.
        generator: the network.
        state: with the weights of both players.
        notes: what a reader of its samples should know, such as that code has changed since it was trained.
    """

    cell: Cell
    seed: int
    generator: Network
    state: State
    notes: tuple[str, ...] = ()

    @classmethod
    def load(cls, folder: Path, registry: Registry) -> Trained:
        """The generator in ``folder``, ``trials/CELL/seed-N`` of a run, on the CPU.

        Raises:
            ResultsError: the folder is not a trial's, or its checkpoint is missing or does not fit.
            ConfigError: a component of the trial is not installed.
        """
        identity = read_json(folder / "spec.json")
        if identity is None:
            hint = "name a folder such as RUN/trials/CELL/seed-0"
            raise ResultsError("not the folder of a trial: it has no spec.json", place=str(folder), hint=hint)
        cell, seed = _read(identity, folder, registry)
        generator, discriminator = players.build(cell, seed, CPU)
        template = initial_state(generator, discriminator, cell.regularizers, cell.optimizer, cell.loss, cell.update)
        if not (folder / checkpoint.TENSORS).is_file():
            raise ResultsError(
                f"the trial has left no {checkpoint.TENSORS}",
                place=str(folder),
                hint="a trial writes one when it ends well, or every `checkpoint_every` steps",
            )
        found = checkpoint.load(folder, template, CPU)
        if found is None:
            raise ResultsError(
                f"{checkpoint.TENSORS} does not fit the networks that spec.json describes",
                place=str(folder),
                hint="it is damaged, or the code of a component has changed",
            )
        before, now = identity.get("code") or {}, codeprint.fingerprint(cell.components)
        changed = sorted(name for name in before if name != "engine" and before[name] != now.get(name))
        notes = (f"code has changed since this was trained: {', '.join(changed)}",) if changed else ()
        return cls(cell, seed, generator, found[0], notes)

    @property
    def spec(self) -> SampleSpec:
        """Of its samples."""
        return self.cell.dataset.spec()

    @property
    def step(self) -> int:
        """Finished steps of training."""
        return int(self.state.step)

    def sample(self, latents: Tensor, labels: Tensor | None = None, which: Which = "ema") -> Tensor:
        """Samples [n, *shape] in float32 of ``latents [n, latent]``, of the last iterate or the running average."""
        weights = players.weights(self.cell, self.generator, self.state, which)
        return generate(self.generator, weights, latents, labels).float()

    def draw(self, n: int, rng: torch.Generator, which: Which = "ema") -> Samples:
        """``n`` samples of latents drawn with ``rng``, with their labels where there are classes."""
        latents, labels = players.latents(self.cell, n, rng, CPU)
        return Samples(self.sample(latents, labels, which), labels)


def _read(identity: dict[str, Any], folder: Path, registry: Registry) -> tuple[Cell, int]:
    try:
        return Cell.from_spec(identity["spec"], registry), int(identity["seed"])
    except GanbenchError as error:
        raise ConfigError(
            f"the trial cannot be rebuilt: {error}", place=str(folder), hint="--plugin FILE loads a plugin"
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ResultsError(f"spec.json describes no trial: {error!r}", place=str(folder)) from error
