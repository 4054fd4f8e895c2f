"""Datasets from files: what the formats say, what is refused, splits that share nothing, and what is kept."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
from pathlib import Path

import making_data as making
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ganbench import ConfigError, Dataset, Levels, Sampler, Samples, codeprint, data_roots, stream
from ganbench import plan as planning
from ganbench.grid import Grid
from ganbench.registry import Registry
from ganbench.runner import Options, execute
from ganbench.testing import check
from ganbench_zoo import datasets_mnist
from ganbench_zoo.datasets_cifar import Cifar10, Cifar100
from ganbench_zoo.datasets_files import Folder, Npz
from ganbench_zoo.datasets_mnist import MNIST, FashionMNIST, StackedMNIST, read_idx
from ganbench_zoo.extractors import Classifier

SMALL: list[Dataset] = [
    MNIST(checksum=False),
    MNIST(checksum=False, size=32),
    FashionMNIST(checksum=False),
    StackedMNIST(checksum=False),
    StackedMNIST(checksum=False, samples=50),
    Cifar10(checksum=False),
    Cifar100(checksum=False),
    Cifar100(checksum=False, labels="coarse"),
    Folder(path="pictures", size=10),
    Folder(path="pictures/cats", size=8, channels=1),
    Npz(path="arrays.npz"),
]
RNG = stream(0, "test")


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return making.make_root(tmp_path_factory.mktemp("pattern"))


@pytest.fixture(autouse=True)
def root(pattern: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small files under ``$GANBENCH_DATA``, and a cache of this test's own."""
    monkeypatch.setenv("GANBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path / "cache"))
    return shutil.copytree(pattern, tmp_path / "data")


def both(dataset: Dataset) -> tuple[Samples, Samples]:
    train, test = (dataset.load(split, stream(0, f"dataset-{split}")) for split in ("train", "test"))
    assert isinstance(train, Samples)
    assert isinstance(test, Samples)
    return train, test


@pytest.mark.parametrize("dataset", SMALL, ids=lambda d: d.label)
def test_each_keeps_the_contract_of_its_role(dataset):
    assert dataset.missing() is None
    assert {f.name: f.message for f in check(dataset) if not f.ok} == {}


@pytest.mark.parametrize(("cls", "folder"), [(MNIST, "mnist"), (FashionMNIST, "fashion-mnist")])
def test_levels_are_those_of_the_file(root, cls, folder):
    shutil.rmtree(root / folder)
    arrays = making.make_idx(root / folder, packed=cls is FashionMNIST)
    for samples, stem in zip(both(cls(checksum=False)), ("train", "t10k"), strict=True):
        images = torch.from_numpy(arrays[f"{stem}-images-idx3-ubyte"])
        assert torch.equal(samples.levels[:, 0], images)
        torch.testing.assert_close(samples.x[:, 0], images / 127.5 - 1, rtol=0, atol=1e-6)
        assert samples.y.tolist() == arrays[f"{stem}-labels-idx1-ubyte"].tolist()


def test_a_border_of_black_makes_32_pixels_of_28():
    small, large = (both(MNIST(checksum=False, size=size))[0].x for size in (28, 32))
    assert torch.equal(large[..., 2:-2, 2:-2], small)
    large[..., 2:-2, 2:-2] = -1
    assert (large == -1).all()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "begins with nothing"),
        (b"\x1f\x8b\x08\x00 packed", "begins with 1f8b0800"),
        (b"\0\0\x0d\x01\0\0\0\x01 floats", "begins with 00000d01"),
        (making.idx(np.zeros((2, 28, 28), np.uint8))[:-1], "has 1583 bytes and says \\[2, 28, 28\\]"),
        (making.idx(np.zeros((2, 28, 28), np.uint8)) + b"x", "has 1585 bytes"),
    ],
)
def test_what_is_no_whole_idx_file_is_refused(data, words):
    with pytest.raises(ConfigError, match=f"images: this is not a whole idx file of bytes: it {words}"):
        read_idx(data, Path("images"))


@given(data=st.binary(max_size=40))
def test_no_bytes_break_the_reader_of_idx(data):
    try:
        array = read_idx(data, Path("images"))
    except ConfigError:
        return
    assert array.size < 40


def test_files_that_are_not_the_published_ones_are_refused_unless_one_says_so(root):
    for dataset in (MNIST(), FashionMNIST(), StackedMNIST(), Cifar10(), Cifar100()):
        assert dataset.missing() is None
        with pytest.raises(ConfigError, match=r"not the published file: its (sha256|md5) is .*checksum = false"):
            dataset.load("train", RNG)


def test_it_does_not_matter_who_packed_a_file(root, monkeypatch):
    folder = root / "fashion-mnist"
    for path in folder.iterdir():
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1))
    digests = {
        path.stem: "sha256:" + hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()
        for path in folder.iterdir()
    }
    folders, advice, _ = FashionMNIST.files
    monkeypatch.setattr(FashionMNIST, "files", (folders, advice, digests))
    assert [len(s) for s in both(FashionMNIST())] == [40, 20]


def test_damaged_and_inconsistent_files_are_refused(root):
    packed = next((root / "fashion-mnist").glob("train-images*"))
    packed.write_bytes(packed.read_bytes()[:-100])
    with pytest.raises(ConfigError, match="this file cannot be read"):
        FashionMNIST(checksum=False).load("train", RNG)
    (root / "mnist" / "t10k-labels-idx1-ubyte").write_bytes(making.idx(np.full(20, 10, np.uint8)))
    with pytest.raises(ConfigError, match="not 20 labels from 0 to 9"):
        MNIST(checksum=False).load("test", RNG)
    (root / "mnist" / "t10k-images-idx3-ubyte").write_bytes(making.idx(np.zeros((20, 8, 8), np.uint8)))
    with pytest.raises(ConfigError, match="shape \\[8, 8\\], expected \\[28, 28\\]"):
        MNIST(checksum=False).load("test", RNG)


def test_without_the_files_it_is_said_what_to_put_where(root, tmp_path, monkeypatch):
    shutil.rmtree(root)
    for dataset in (MNIST(), FashionMNIST(), StackedMNIST(), Cifar10(), Cifar100()):
        name = "mnist" if dataset.name == "stacked-mnist" else dataset.name
        if (Path("/usr/share/datasets") / name).is_dir():
            continue  # a machine that has it
        what = dataset.missing()
        assert what is not None
        assert f"put them into {root / name}" in what
        assert str(tmp_path / "cache" / "data" / name) in what
        with pytest.raises(ConfigError, match=r"docs/datasets.md"):
            dataset.load("train", RNG)
    monkeypatch.delenv("GANBENCH_DATA")
    assert "$GANBENCH_DATA is not set" in (Cifar10().missing() or "")
    with pytest.raises(ConfigError, match=r"there is no 'pictures'.*docs/datasets.md"):
        Folder(path="pictures").spec()
    for cls in (Folder, Npz):
        with pytest.raises(ConfigError, match=f"dataset {cls.name} needs a path"):
            cls().spec()


def test_data_is_looked_for_where_the_user_says_first(root, tmp_path):
    assert data_roots()[:2] == [root, tmp_path / "cache" / "data"]
    (root / "mnist").rename(root / "moved")
    assert MNIST().missing()
    (root / "MNIST").mkdir()
    (root / "moved").rename(root / "MNIST" / "raw")
    assert MNIST().missing() is None


# -- Stacked MNIST -----------------------------------------------------------------------------------------


def test_a_stack_shows_the_digits_of_its_number():
    train, _ = both(MNIST(checksum=False))
    stacks = StackedMNIST(checksum=False).load("train", RNG)
    assert isinstance(stacks, Sampler)
    batch = stacks.sample(20, stream(0, "data"))
    known = {image.numpy().tobytes(): int(label) for image, label in zip(train.x[:, 0], train.y, strict=True)}
    numbers = [[known[channel.numpy().tobytes()] for channel in stack] for stack in batch.x]
    assert batch.y.tolist() == [100 * a + 10 * b + c for a, b, c in numbers]


def test_each_channel_of_a_stack_is_a_sample_of_mnist():
    stacked = StackedMNIST(checksum=False, size=32)
    assert stacked.channel() == MNIST(checksum=False, size=32)
    assert stacked.channel().spec().shape == (1, *stacked.spec().shape[1:])


def test_stacks_follow_their_stream_and_a_fixed_set_its_own():
    endless, fixed = StackedMNIST(checksum=False), StackedMNIST(checksum=False, samples=30)
    one, two, other = (endless.load("train", RNG).sample(9, stream(seed, "data")) for seed in (0, 0, 1))
    assert torch.equal(one.x, two.x)
    assert not torch.equal(one.x, other.x)
    first, again = (fixed.load("train", stream(seed, "dataset-train")) for seed in (0, 1))
    assert len(first) == 30
    assert torch.equal(first.levels, again.levels)
    assert not torch.equal(first.levels, fixed.load("test", RNG).levels)


# -- CIFAR -------------------------------------------------------------------------------------------------


def test_cifar_is_read_from_the_archive_and_from_its_files(root):
    packed = both(Cifar10(checksum=False))
    for name, array in making.CIFAR10.items():
        (root / "cifar10" / name).parent.mkdir(exist_ok=True)
        (root / "cifar10" / name).write_bytes(array.tobytes())
    (root / "cifar10" / "cifar-10-binary.tar.gz").unlink()
    for a, b in zip(packed, both(Cifar10()), strict=True):
        assert torch.equal(a.levels, b.levels)
        assert torch.equal(a.y, b.y)
    stacked = np.concatenate([making.CIFAR10[f"cifar-10-batches-bin/data_batch_{i}.bin"] for i in range(1, 6)])
    assert np.array_equal(packed[0].levels.numpy().reshape(50, -1), stacked[:, 1:])
    assert packed[0].y.tolist() == stacked[:, 0].tolist()


def test_cifar100_has_fine_and_coarse_labels():
    fine, coarse = (both(Cifar100(checksum=False, labels=kind))[0] for kind in ("fine", "coarse"))
    assert fine.y.tolist() == list(range(100))
    assert set(coarse.y.tolist()) == {0}
    assert Cifar100(labels="coarse").spec().classes == 20


def test_archives_that_lack_a_file_or_are_cut_are_refused(root):
    path = root / "cifar10" / "cifar-10-binary.tar.gz"
    whole = path.read_bytes()
    making.make_cifar(path, {"cifar-10-batches-bin/test_batch.bin": making.rows(10, 1, 10)[:, :-1]})
    for split, words in (("train", "cannot be read: .*data_batch_1"), ("test", "not whole rows of 3073")):
        with pytest.raises(ConfigError, match=words):
            Cifar10(checksum=False).load(split, RNG)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="cannot be read"):
        Cifar10(checksum=False).load("test", RNG)
    making.make_cifar(path, {"cifar-10-batches-bin/test_batch.bin": making.rows(20, 1, 20)})
    with pytest.raises(ConfigError, match="a label is 19, and there are 10 classes"):
        Cifar10(checksum=False).load("test", RNG)


# -- folders -----------------------------------------------------------------------------------------------


def test_every_fifth_image_of_a_class_is_for_testing_and_copies_count_once(root):
    folder = root / "pictures"
    shutil.copy(folder / "cats" / "0.png", folder / "cats" / "9.png")
    train, test = both(Folder(path="pictures", size=10))
    assert train.y.tolist() == [0] * 5 + [1] * 5
    assert test.y.tolist() == [0, 1]
    assert test.x.shape == (2, 3, 10, 10)


def test_a_folder_with_splits_keeps_them(root):
    for split, n in (("train", 4), ("test", 3)):
        making.make_images(root / "split" / split, [f"{kind}/{i}.jpg" for kind in "ab" for i in range(n)])
    assert [s.y.tolist() for s in both(Folder(path=str(root / "split")))] == [[0] * 4 + [1] * 4, [0] * 3 + [1] * 3]
    (root / "split" / "test" / "a").rename(root / "split" / "test" / "c")
    with pytest.raises(ConfigError, match=r"\['a', 'b'\] for training and \['b', 'c'\] for testing"):
        Folder(path="split").load("test", RNG)


def test_images_are_cut_to_a_square_in_any_mode(root):
    folder = root / "modes"
    folder.mkdir()
    for i, mode in enumerate(("L", "P", "RGBA", "CMYK", "1", "LA")):
        picture = Image.new(mode, (40, 20), 0)
        picture.save(folder / f"{i}.{'tif' if mode == 'CMYK' else 'png'}")
    assert both(Folder(path="modes", size=16))[0].x.shape == (5, 3, 16, 16)
    halves = np.zeros((20, 60, 3), np.uint8)
    halves[:, 20:40] = 255  # the middle square is white
    Image.fromarray(halves).save(folder / "0.png")
    assert (Folder(path="modes", size=16).load("train", RNG).x[0] == 1).all()


def test_unreadable_images_are_named(root):
    folder = root / "bad"
    folder.mkdir()
    (folder / "text.png").write_text("no image")
    with pytest.raises(ConfigError, match=r"text.png: this image cannot be read"):
        Folder(path="bad").load("train", RNG)
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(folder / "text.png")
    with pytest.raises(ConfigError, match="no 8 bits a channel"):
        Folder(path="bad").load("train", RNG)
    (folder / "text.png").unlink()
    with pytest.raises(ConfigError, match=r"no image for the train split.*endings: .bmp, .jpeg"):
        Folder(path="bad").load("train", RNG)
    with pytest.raises(ConfigError, match="is a file; for arrays"):
        Folder(path="arrays.npz").spec()


def test_images_beyond_pillows_limit_are_refused(root, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(ConfigError, match="cannot be read: Image size"):
        Folder(path="pictures").load("train", RNG)


# -- arrays ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((9, 8, 6), (1, 8, 6)), ((9, 8, 6, 3), (3, 8, 6)), ((9, 3, 8, 6), (3, 8, 6)), ((9, 5), (5,))],
)
def test_arrays_of_bytes_are_images_with_channels_first(root, shape, expected):
    x = making.RNG.integers(0, 256, shape, np.uint8)
    np.savez(root / "x.npz", x_train=x, x_test=x[:2] // 2)
    dataset = Npz(path="x.npz", low=0, high=1)
    assert dataset.spec().shape == expected
    train, _ = both(dataset)
    assert isinstance(train, Levels)
    straight = np.moveaxis(x, 3, 1) if shape[-1] == 3 else x
    np.testing.assert_allclose(train.x.numpy(), straight.reshape(9, *expected) / 255, atol=1e-6)
    assert train.x.min() >= 0
    assert train.x.max() <= 1


def test_arrays_of_floats_keep_their_values(root):
    x = making.RNG.normal(size=(50, 2))
    np.savez(root / "x.npz", np.concatenate([x, x]))
    train, test = both(Npz(path="x.npz"))
    together = torch.cat([train.x, test.x])
    assert (len(train), len(test)) == (40, 10)
    assert set(map(tuple, together.tolist())) == set(map(tuple, torch.from_numpy(x).float().tolist()))
    assert not Npz(path="x.npz").spec().bounded
    with pytest.raises(ConfigError, match=r"outside -1..1, or that are no numbers"):
        Npz(path="x.npz", low=-1, high=1).load("train", RNG)
    np.savez(root / "x.npz", x=np.full((10, 2), np.nan))
    with pytest.raises(ConfigError, match="no numbers"):
        Npz(path="x.npz").load("train", RNG)


def test_objects_are_never_read(root):
    np.savez(root / "x.npz", x=np.array([[print, 1]], dtype=object))
    with pytest.raises(ConfigError, match="x has Python objects, which are not read"):
        Npz(path="x.npz").spec()
    (root / "x.npz").write_bytes(b"text")
    with pytest.raises(ConfigError, match="not an npz file"):
        Npz(path="x.npz").spec()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"z": np.zeros((3, 2))}, "it has z, and no x or x_train"),
        ({"x": np.zeros((3, 2), int)}, "type int64, not uint8 or floats"),
        ({"x": np.zeros(3)}, r"shape \[3\], not \[n, ...\]"),
        ({"x": np.zeros((3, 2)), "y": np.zeros(2, int)}, "2 labels for 3 samples"),
        ({"x": np.zeros((3, 2)), "y": np.zeros(3)}, "labels of type float64, not integers"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(root, arrays, words):
    np.savez(root / "x.npz", **arrays)
    with pytest.raises(ConfigError, match=words):
        Npz(path="x.npz").load("train", RNG)
    with pytest.raises(ConfigError, match="are no range"):
        Npz(path="x.npz", low=1, high=0)


# -- what is kept ------------------------------------------------------------------------------------------


def test_what_was_read_is_kept_and_read_again_when_a_source_changed(root, monkeypatch):
    dataset = MNIST(checksum=False)
    first = both(dataset)[0].levels.clone()
    with monkeypatch.context() as patch:
        patch.setattr(datasets_mnist, "read_split", lambda *_: pytest.fail("it was read again"))
        assert torch.equal(both(dataset)[0].levels, first)
    shutil.rmtree(root / "mnist")
    arrays = making.make_idx(root / "mnist", packed=False)
    assert torch.equal(both(dataset)[0].levels[:, 0], torch.from_numpy(arrays["train-images-idx3-ubyte"]))


def test_what_was_damaged_is_replaced(tmp_path):
    dataset = MNIST(checksum=False)
    first = both(dataset)[0].levels.clone()
    (path,) = (tmp_path / "cache" / "levels").glob("mnist-train-*")
    path.write_bytes(path.read_bytes()[:-1])
    assert torch.equal(both(dataset)[0].levels, first)
    assert not list(path.parent.glob("*.partial"))


def test_a_level_that_has_changed_on_disk_is_noticed(tmp_path):
    dataset = MNIST(checksum=False)
    first = both(dataset)[0].levels.clone()
    (path,) = (tmp_path / "cache" / "levels").glob("mnist-train-*")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()  # a mapped file is not written into
    path.write_bytes(content)
    assert torch.equal(both(dataset)[0].levels, first)
    assert path.read_bytes() != bytes(content), "the damaged file is still there"


def test_training_and_evaluations_of_a_process_share_one_mapping():
    dataset = MNIST(checksum=False)
    dataset.load("train", RNG)  # the first time it is read from the sources
    one, other = dataset.load("train", RNG), dataset.load("train", RNG)
    assert one.levels.data_ptr() == other.levels.data_ptr()


def test_what_was_kept_by_other_code_is_read_again(monkeypatch):
    dataset = MNIST(checksum=False)
    dataset.load("train", RNG)
    monkeypatch.setitem(codeprint._HASHES, MNIST, "another")
    reads = []
    read = datasets_mnist.read_split
    monkeypatch.setattr(datasets_mnist, "read_split", lambda *given: reads.append(given) or read(*given))
    dataset.load("train", RNG)
    assert len(reads) == 1


def test_a_cache_that_cannot_be_written_costs_a_warning(tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="could not be kept"):
        samples = MNIST(checksum=False).load("train", RNG)
    assert len(samples) == 40


def test_a_run_without_its_data_trains_nothing_and_says_what_is_missing(root, small, tmp_path):
    shutil.rmtree(root)
    small["grid"]["dataset"] = ["ring", "cifar10"]
    grid = Grid.load(small)
    assert f"put them into {root / 'cifar10'}" in planning.make(grid, Registry.load(), tmp_path / "run").notes[-1]
    with pytest.raises(ConfigError, match="dataset cifar10 needs cifar-10-binary"):
        execute(grid, tmp_path / "results", Options(device="cpu"))
    assert not (tmp_path / "results").exists()


# -- the published files -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("cls", [MNIST, FashionMNIST], ids=lambda cls: cls.name)
def test_the_published_files_are_what_they_are_known_to_be(cls, monkeypatch):
    """On a machine that has them: ``$GANBENCH_TEST_DATA`` or a system folder; elsewhere it is reported as skipped."""
    monkeypatch.setenv("GANBENCH_DATA", os.environ.get("GANBENCH_TEST_DATA", "/nowhere"))
    if what := cls().missing():
        pytest.skip(what)
    train, test = both(cls())
    assert train.y.bincount().tolist() == [6000] * 10 or cls is MNIST
    assert test.y.bincount().tolist() == [1000] * 10 or cls is MNIST
    assert (len(train), len(test)) == (60_000, 10_000)
    # means and deviations of the training pixels on a scale of 0..1, as they are widely quoted
    mean, std = {"mnist": (0.1307, 0.3081), "fashion-mnist": (0.2860, 0.3530)}[cls.name]
    pixels = train.levels.double() / 255
    assert abs(pixels.mean() - mean) < 1e-4
    assert abs(pixels.std() - std) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "least"), [(MNIST, 0.985), (FashionMNIST, 0.89)], ids=["mnist", "fashion-mnist"])
def test_the_classifier_knows_the_published_classes(cls, least, monkeypatch):
    """On a machine that has the files, as above; about a minute each."""
    monkeypatch.setenv("GANBENCH_DATA", os.environ.get("GANBENCH_TEST_DATA", "/nowhere"))
    if what := cls().missing():
        pytest.skip(what)
    assert Classifier().load(cls(), torch.device("cpu")).accuracy > least
