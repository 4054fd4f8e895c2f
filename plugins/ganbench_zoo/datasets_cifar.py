"""CIFAR-10 and CIFAR-100 in their binary version, packed or unpacked."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from ganbench import (
    Component,
    ConfigError,
    DataFiles,
    Dataset,
    Levels,
    SampleSpec,
    check_digest,
    field,
    hookimpl,
    kept_levels,
)

if TYPE_CHECKING:
    import numpy as np
    import torch

    Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
    Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

Split: TypeAlias = Literal["train", "test"]
SOURCE = "https://www.cs.toronto.edu/~kriz/cifar.html"
SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32


def read_rows(data: bytes, path: Path, labels: int, classes: int, column: int) -> tuple[Bytes, Integers]:
    """Images uint8 [n, 3, 32, 32] and labels int64 [n] of rows of ``labels`` bytes and 3072 pixels, red first.

    Raises:
        ConfigError: the data is not whole rows, or a label in ``column`` is not below ``classes``.
    """
    import numpy as np

    length = labels + PIXELS
    if not data or len(data) % length:
        raise ConfigError(f"{len(data)} bytes are not whole rows of {length}", place=str(path))
    rows = np.frombuffer(data, np.uint8).reshape(-1, length)
    y = rows[:, column].astype(np.int64)
    if int(y.max()) >= classes:
        raise ConfigError(f"a label is {int(y.max())}, and there are {classes} classes", place=str(path))
    return rows[:, labels:].reshape(-1, *SHAPE), y


class Cifar(Dataset):
    """Colour images of 32 x 32 pixels: an archive, or the files in it."""

    metrics: ClassVar[tuple[str | dict[str, Any], ...]] = (
        {"use": "frechet-distance", "extractor": "classifier"},
        {"use": "density-coverage", "extractor": "classifier"},
        "sliced-wasserstein",
    )
    archive: ClassVar[str]
    digest: ClassVar[str]
    inside: ClassVar[str]
    """The folder in the archive."""
    members: ClassVar[dict[str, tuple[str, ...]]]
    """The files of each split."""

    checksum: bool = field(
        default=True, doc="whether the archive must be the published one; its files have no checksum"
    )

    def columns(self) -> tuple[int, int, int]:
        """Bytes of labels in a row, the number of classes, and which byte is the label."""
        raise NotImplementedError

    def spec(self) -> SampleSpec:
        return SampleSpec(shape=SHAPE, classes=self.columns()[1], low=-1.0, high=1.0)

    def missing(self) -> str | None:
        archive = self._archive()
        return archive.missing() if self._extracted("train", "test").missing() is not None else None

    def load(self, split: Split, rng: torch.Generator) -> Levels:
        del rng
        extracted = self._extracted(split)
        if extracted.missing() is None:
            files = extracted.paths()
            return kept_levels(self, split, files, lambda: self._joined([(p.read_bytes(), p) for p in files]))
        (archive,) = self._archive().paths()
        return kept_levels(self, split, [archive], lambda: self._joined(self._unpacked(archive, split)))

    def _joined(self, files: Iterable[tuple[bytes, Path]]) -> tuple[Bytes, Integers]:
        import numpy as np

        parts = [read_rows(data, path, *self.columns()) for data, path in files]
        return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])

    def _unpacked(self, archive: Path, split: Split) -> list[tuple[bytes, Path]]:
        """The contents of the split's files, read from the archive; nothing is written."""
        if self.checksum:
            check_digest(archive.read_bytes(), self.digest, archive)
        found = []
        try:
            with tarfile.open(archive, "r:gz") as tar:
                for name in self.members[split]:
                    member = tar.extractfile(f"{self.inside}/{name}")
                    if member is None:
                        raise ConfigError(f"{self.inside}/{name} is not a file", place=str(archive))
                    found.append((member.read(), archive / self.inside / name))
        except (OSError, EOFError, KeyError, tarfile.TarError) as error:
            raise ConfigError(f"this archive cannot be read: {error}", place=str(archive)) from error
        return found

    def _archive(self) -> DataFiles:
        advice = f"{SOURCE} has it ('binary version')."
        return DataFiles(self.name, (self.name, "."), ((self.archive,),), advice)

    def _extracted(self, *splits: Split) -> DataFiles:
        names = tuple((name,) for split in splits for name in self.members[split])
        return DataFiles(self.name, (f"{self.name}/{self.inside}", self.inside, self.name), names, "")


class Cifar10(Cifar, name="cifar10", source=SOURCE):
    """60,000 photographs [3, 32, 32] in [-1, 1] with 10 classes: 50,000 for training, 10,000 for testing."""

    archive = "cifar-10-binary.tar.gz"
    digest = "md5:c32a1d4ab5d03f1284b67883e8d87530"
    inside = "cifar-10-batches-bin"
    members: ClassVar[dict[str, tuple[str, ...]]] = {
        "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        "test": ("test_batch.bin",),
    }

    def columns(self) -> tuple[int, int, int]:
        return 1, 10, 0


class Cifar100(Cifar, name="cifar100", source=SOURCE):
    """60,000 photographs [3, 32, 32] in [-1, 1] with 100 classes: 50,000 for training, 10,000 for testing."""

    archive = "cifar-100-binary.tar.gz"
    digest = "md5:03b5dce01913d631647c71ecec9e9cb8"
    inside = "cifar-100-binary"
    members: ClassVar[dict[str, tuple[str, ...]]] = {"train": ("train.bin",), "test": ("test.bin",)}

    labels: Literal["fine", "coarse"] = field(default="fine", doc="100 classes, or the 20 groups they are in")

    def columns(self) -> tuple[int, int, int]:
        return (2, 100, 1) if self.labels == "fine" else (2, 20, 0)


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The datasets of this module."""
    return [Cifar10, Cifar100]
