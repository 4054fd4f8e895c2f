"""Small files in the formats of the published datasets, made by hand."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

RNG = np.random.default_rng(0)
SIZES = {"train": 40, "t10k": 20}


def idx(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def digits(n: int) -> tuple[np.ndarray, np.ndarray]:
    return RNG.integers(0, 256, (n, 28, 28), np.uint8), (np.arange(n) % 10).astype(np.uint8)


def rows(n: int, labels: int, classes: int) -> np.ndarray:
    columns = [np.full((n, 1), 0, np.uint8) for _ in range(labels - 1)] + [(np.arange(n) % classes)[:, None]]
    return np.concatenate([*columns, RNG.integers(0, 256, (n, 3072))], 1).astype(np.uint8)


def make_idx(folder: Path, *, packed: bool) -> dict[str, np.ndarray]:
    """Four files as MNIST has them; the arrays by name."""
    folder.mkdir(parents=True)
    arrays = {}
    for stem, n in SIZES.items():
        arrays[f"{stem}-images-idx3-ubyte"], arrays[f"{stem}-labels-idx1-ubyte"] = digits(n)
    for name, array in arrays.items():
        data = idx(array)
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(data) if packed else data)
    return arrays


def make_cifar(path: Path, members: dict[str, np.ndarray]) -> None:
    """An archive of files of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, array in members.items():
            facts = tarfile.TarInfo(name)
            facts.size = array.nbytes
            tar.addfile(facts, io.BytesIO(array.tobytes()))


CIFAR10 = {f"cifar-10-batches-bin/data_batch_{i}.bin": rows(10, 1, 10) for i in range(1, 6)} | {
    "cifar-10-batches-bin/test_batch.bin": rows(10, 1, 10)
}
CIFAR100 = {"cifar-100-binary/train.bin": rows(100, 2, 100), "cifar-100-binary/test.bin": rows(100, 2, 100)}


def make_images(folder: Path, names: list[str], size: tuple[int, int] = (12, 9)) -> None:
    """A file for each name, each with another picture."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (size[1], size[0], 3), np.uint8)).save(folder / name)


def make_root(root: Path) -> Path:
    """A folder for ``$GANBENCH_DATA`` with a small edition of everything."""
    make_idx(root / "mnist", packed=False)
    make_idx(root / "fashion-mnist", packed=True)
    make_cifar(root / "cifar10" / "cifar-10-binary.tar.gz", CIFAR10)
    make_cifar(root / "cifar100" / "cifar-100-binary.tar.gz", CIFAR100)
    make_images(root / "pictures", [f"{kind}/{i}.png" for kind in ("cats", "dogs") for i in range(6)])
    x, y = RNG.integers(0, 256, (30, 8, 8), np.uint8), np.arange(30) % 3
    np.savez(root / "arrays.npz", x=x, y=y)
    return root
