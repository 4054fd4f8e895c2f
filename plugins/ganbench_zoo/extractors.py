"""Extractors: samples as they are, as pixels, and as features of a small classifier trained on the spot."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 # torch's own name for it

from ganbench import (
    Component,
    ConfigError,
    ContractError,
    Dataset,
    Extractor,
    Features,
    Samples,
    SampleSpec,
    cache_dir,
    field,
    global_stream,
    hookimpl,
    stream,
)
from ganbench_zoo.pretrained import checksum

if TYPE_CHECKING:
    from ganbench import Cell

CLASSIFIER_VERSION = 1
"""Part of the key of every cached classifier: raise it when its network or its training changes."""
SEED = 0
"""Of the classifier: features are part of the measuring instrument, so no seed of a study enters."""
BATCH = 64
"""Samples in a step of training."""
SEEN = 180_000
"""Samples that it is shown at most: three epochs of MNIST."""
ENDLESS = 10_000
"""Samples drawn from a dataset that is an endless sampler."""
CHUNK = 2048
"""Samples that go through the network at a time."""


class Identity(Extractor, name="identity"):
    """x as it is: for samples that are features already."""

    def load(self, dataset: Dataset | None, device: torch.device) -> Features:
        del dataset, device
        return _unchanged


class Pixels(Extractor, name="pixels"):
    """The values of a sample in a row: [n, *shape] -> [n, d]."""

    def load(self, dataset: Dataset | None, device: torch.device) -> Features:
        del dataset, device
        return _flat


def _unchanged(x: Tensor) -> Tensor:
    return x


def _flat(x: Tensor) -> Tensor:
    return x.flatten(1)


class Network(nn.Module):
    """The classifier: ``body`` [B, *shape] -> features [B, d], ``head`` features -> logits [B, classes].

    Images go through three 3x3 convolutions, the later two of stride 2, and a linear layer; vectors through two
    linear layers.
    """

    def __init__(self, spec: SampleSpec, features: int) -> None:
        super().__init__()
        if spec.is_image:
            channels, height, width = spec.shape
            small = ((height + 3) // 4) * ((width + 3) // 4)  # pixels after two strides of 2
            self.body = nn.Sequential(
                *(nn.Conv2d(channels, 16, 3, padding=1), nn.SiLU()),
                *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.SiLU()),
                *(nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.SiLU()),
                *(nn.Flatten(), nn.Linear(64 * small, features), nn.SiLU()),
            )
        else:
            self.body = nn.Sequential(
                *(nn.Flatten(), nn.Linear(spec.size, 128), nn.SiLU()),
                *(nn.Linear(128, features), nn.SiLU()),
            )
        self.head = nn.Linear(features, spec.classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x))
        return logits


class Classified:
    """Features [n, d] of a trained classifier: what its last layer sees.

    Args:
        network: the classifier.
        accuracy: share of the test split that it classifies correctly.
        digest: 16 hexadecimal digits of the weights; values compare only where these are equal.
    """

    def __init__(self, network: Network, *, accuracy: float, digest: str) -> None:
        self.network, self.accuracy, self.digest = network, accuracy, digest
        self.preprocessing = f"which classifies {100 * accuracy:.1f} % of the test split correctly"
        """What is told of it beside its values."""

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        weight = self.network.head.weight
        return torch.cat([self.network.body(part.to(weight.device, weight.dtype)) for part in torch.split(x, CHUNK)])

    @torch.no_grad()
    def head(self, features: Tensor) -> Tensor:
        """The logits [n, classes] of ``features [n, d]``."""
        logits: Tensor = self.network.head(features)
        return logits

    def logits(self, x: Tensor) -> Tensor:
        """The logits [n, classes] of ``x [n, *shape]``."""
        return self.head(self(x))


class Classifier(Extractor, name="classifier"):
    """h(x) [n, features], the last hidden layer of a small classifier of the dataset's own classes.

    It is trained once, on the training split, with a fixed seed, in float32 on one thread of the CPU (digits:
    about 3 s; MNIST and Fashion-MNIST: about a minute), for ``epochs`` passes or as many as show it 180,000 samples,
    whichever are fewer. It is kept in ``ganbench.cache_dir()`` under a hash of the dataset, this component and the
    version of its code. The file holds the accuracy on the test split; ``load(...)`` gives it as ``.accuracy``. A file
    that was damaged or belongs to something else is replaced.
    """

    features: int = field(default=48, ge=2, doc="dimension of the features")
    epochs: int = field(default=30, ge=1, doc="passes over the training split; fewer where it is large")

    def mismatch(self, cell: Cell) -> str | None:
        return _refusal(cell.dataset)

    def load(self, dataset: Dataset | None, device: torch.device) -> Classified:
        if dataset is None:
            refusal: str | None = "extractor classifier is trained on a dataset, and none is given"
        else:
            refusal = _refusal(dataset)
        if dataset is None or refusal is not None:
            raise ConfigError(refusal or "", hint='extractor = "pixels" needs neither')
        text = f"{CLASSIFIER_VERSION} {dataset.fingerprint} {self.fingerprint}"
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        path = cache_dir() / "extractors" / f"classifier-{dataset.name}-{key}.safetensors"
        with _one_thread(), global_stream(SEED, "classifier"):
            network = Network(dataset.spec(), self.features)
            accuracy = _read(path, key, network)
            if accuracy is None:
                accuracy = _train(network, dataset, self.epochs)
                _write(path, key, network, accuracy)
        network.to(device).requires_grad_(requires_grad=False)
        return Classified(network, accuracy=accuracy, digest=checksum(network.state_dict())[:16])


def _refusal(dataset: Dataset) -> str | None:
    if dataset.spec().classes > 1:
        return None
    return f"extractor classifier needs a dataset with classes, and {dataset.name} has none"


def _train(network: Network, dataset: Dataset, epochs: int) -> float:
    """Minimise the cross-entropy of the training split by AdamW; the accuracy on the test split."""
    train, test = (_labelled(dataset, split) for split in ("train", "test"))
    order = stream(SEED, "classifier-order")
    epochs = min(epochs, max(1, SEEN // len(train)))
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    steps = epochs * -(-len(train) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    with torch.enable_grad():
        for _ in range(epochs):
            for index in torch.split(torch.randperm(len(train), generator=order), BATCH):
                batch = train.take(index)
                assert batch.y is not None
                optimizer.zero_grad()
                F.cross_entropy(network(batch.x), batch.y).backward()  # type: ignore[no-untyped-call] # torch's
                optimizer.step()
                schedule.step()
    with torch.no_grad():
        right = [network(x).argmax(1) == y for x, y in zip(*_columns(test), strict=True)]
    return torch.cat(right).double().mean().item()


def _columns(samples: Samples) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    assert samples.y is not None
    return torch.split(samples.x, CHUNK), torch.split(samples.y, CHUNK)


def _labelled(dataset: Dataset, split: Literal["train", "test"]) -> Samples:
    data = dataset.load(split, stream(SEED, f"classifier-{split}"))
    samples = data if isinstance(data, Samples) else data.sample(ENDLESS, stream(SEED, f"classifier-{split}"))
    if samples.y is None:
        raise ContractError(f"dataset {dataset.name} says it has classes, but its {split} split has no labels")
    return samples


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Sums of several threads differ in their last bits; the features should not."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _read(path: Path, key: str, network: Network) -> float | None:
    """Fill ``network`` from ``path``; the accuracy, or None where the file is not what was written under ``key``."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # not a mapping
    except (OSError, safetensors.SafetensorError):
        return None
    accuracy = facts.get("accuracy", "")
    if facts.get("key") != key or facts.get("sha256") != checksum(weights, key, accuracy):
        return None
    try:
        network.load_state_dict(weights)
    except RuntimeError:  # other shapes: the network changed and the version did not
        return None
    return float(accuracy)


def _write(path: Path, key: str, network: Network, accuracy: float) -> None:
    """Keep the weights at ``path``, whole or not at all; of two processes that train at once, the later one wins."""
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    facts = {"key": key, "accuracy": repr(accuracy), "sha256": checksum(weights, key, repr(accuracy))}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.stem, suffix=".part", delete=False) as file:
            file.write(safetensors.torch.save(weights, facts))
        Path(file.name).replace(path)
    except OSError as error:
        # the features are there all the same; only the next process trains again
        warnings.warn(f"the classifier could not be kept in {path.parent}: {error}", stacklevel=2)


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The extractors of this module."""
    return [Identity, Pixels, Classifier]
