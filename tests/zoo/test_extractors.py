"""Extractors: shapes, a classifier that repeats itself, and a cache that is never trusted blindly."""

from __future__ import annotations

import stat
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ganbench import ConfigError, ContractError, Dataset, Samples, SampleSpec, stream
from ganbench_zoo import extractors, pretrained
from ganbench_zoo.datasets import Digits, Ring
from ganbench_zoo.extractors import Classifier, Identity, Pixels

CPU = torch.device("cpu")


class Blobs(Dataset, name="test-blobs"):
    """Two labelled Gaussians of R^3, as an endless sampler."""

    gap: float = 6.0

    def spec(self) -> SampleSpec:
        return SampleSpec(shape=(3,), classes=2)

    def load(self, split, rng):
        return self

    def sample(self, n, rng):
        y = torch.randint(2, (n,), generator=rng)
        return Samples(torch.randn(n, 3, generator=rng) + self.gap * y[:, None], y)


class Unlabelled(Blobs, name="test-unlabelled"):
    """A dataset that does not keep its word."""

    def sample(self, n, rng):
        return Samples(super().sample(n, rng).x)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path))
    return tmp_path / "extractors"


@pytest.fixture
def trainings(monkeypatch) -> list[str]:
    """The datasets trained on, one for each training."""
    done = []
    train = extractors._train

    def counted(network, dataset, epochs):
        done.append(dataset.name)
        return train(network, dataset, epochs)

    monkeypatch.setattr(extractors, "_train", counted)
    return done


SMALL = Classifier(epochs=1, features=8)


def test_identity_returns_the_very_samples():
    x = torch.randn(4, 7)
    assert Identity().load(None, CPU)(x) is x


def test_pixels_are_the_values_in_a_row():
    x = torch.randn(4, 2, 3, 3)
    assert torch.equal(Pixels().load(None, CPU)(x), x.reshape(4, 18))


def test_the_default_classifier_knows_the_digits():
    fitted = Classifier().load(Digits(), CPU)
    test = Digits().load("test", stream(0, "d"))
    features = fitted(test.x)
    assert features.shape == (599, 48)
    assert not features.requires_grad
    accuracy = (fitted.logits(test.x).argmax(1) == test.y).double().mean().item()
    assert accuracy == fitted.accuracy > 0.96
    assert features.std(0).min() > 0  # no feature is dead


def test_features_do_not_depend_on_how_many_samples_come_at_once(monkeypatch):
    fitted = SMALL.load(Digits(), CPU)
    x = Digits().load("test", stream(0, "d")).x
    whole = fitted(x)
    monkeypatch.setattr(extractors, "CHUNK", 50)
    assert torch.allclose(whole, fitted(x), atol=1e-5)


def test_vectors_from_an_endless_sampler_are_classified():
    fitted = Classifier(epochs=1).load(Blobs(), CPU)
    assert fitted.accuracy > 0.95
    assert fitted(torch.randn(5, 3)).shape == (5, 48)


def test_it_is_trained_once_and_then_read(trainings, cache):
    one, two = SMALL.load(Digits(), CPU), SMALL.load(Digits(), CPU)
    x = torch.randn(9, 1, 8, 8)
    assert trainings == ["digits"]
    assert torch.equal(one(x), two(x))
    assert (one.accuracy, one.digest) == (two.accuracy, two.digest)
    assert [p.suffix for p in cache.iterdir()] == [".safetensors"]


def test_training_repeats_itself_and_leaves_the_global_state_alone(cache):
    def trained() -> str:
        for file in cache.glob("*"):
            file.unlink()
        return SMALL.load(Digits(), CPU).digest

    torch.manual_seed(5)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    first = trained()
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads
    torch.manual_seed(6)
    with torch.no_grad():  # as the harness evaluates
        assert trained() == first


def test_other_data_other_fields_and_another_version_have_other_files(trainings, cache, monkeypatch):
    SMALL.load(Blobs(), CPU)
    SMALL.load(Blobs(gap=3.0), CPU)
    Classifier(epochs=1, features=9).load(Blobs(), CPU)
    monkeypatch.setattr(extractors, "CLASSIFIER_VERSION", -1)
    SMALL.load(Blobs(), CPU)
    assert len(trainings) == len(list(cache.iterdir())) == 4


def damaged_header(path: Path) -> None:
    path.write_bytes(b"\xff" * 40)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def one_bit_flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(bytes(data))


def without_metadata(path: Path) -> None:
    save_file(load_file(path), path)


def of_another_key(path: Path) -> None:
    save_file(load_file(path), path, {"key": "0" * 16, "accuracy": "1.0", "sha256": "0" * 64})


def of_another_network(path: Path) -> None:
    key = path.stem.rpartition("-")[2]
    weights = {"other": torch.zeros(2)}
    total = pretrained.checksum(weights, key, "1.0")
    save_file(weights, path, {"key": key, "accuracy": "1.0", "sha256": total})


@pytest.mark.parametrize(
    "spoil",
    [
        damaged_header,
        truncated,
        emptied,
        one_bit_flipped,
        without_metadata,
        of_another_key,
        of_another_network,
    ],
    ids=lambda f: f.__name__,
)
def test_a_file_that_is_not_what_was_written_is_replaced(spoil, trainings, cache):
    good = SMALL.load(Blobs(), CPU)
    (path,) = cache.iterdir()
    spoil(path)
    again = SMALL.load(Blobs(), CPU)
    assert len(trainings) == 2
    assert again.digest == good.digest
    SMALL.load(Blobs(), CPU)
    assert len(trainings) == 2  # the new file is good


def test_two_at_once_both_succeed_and_leave_one_file(cache):
    found, barrier = [], threading.Barrier(2)
    network = extractors.Network(Blobs().spec(), 8)
    path = cache / "classifier-x-k.safetensors"

    def write() -> None:
        barrier.wait()
        for _ in range(20):
            extractors._write(path, "k", network, 0.5)
            found.append(extractors._read(path, "k", extractors.Network(Blobs().spec(), 8)))

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [0.5] * 40
    assert list(cache.iterdir()) == [path]


def test_a_cache_that_cannot_be_written_costs_a_warning_and_no_result(tmp_path, monkeypatch):
    occupied = tmp_path / "a file where a folder should be"
    occupied.touch()
    monkeypatch.setenv("GANBENCH_CACHE", str(occupied))
    with pytest.warns(UserWarning, match="could not be kept"):
        assert SMALL.load(Blobs(), CPU).accuracy > 0.5


def test_the_file_can_be_read_by_others_who_share_the_cache(cache):
    SMALL.load(Blobs(), CPU)
    (path,) = cache.iterdir()
    assert path.stat().st_mode & stat.S_IRUSR


def test_what_it_needs_is_taught():
    with pytest.raises(ConfigError, match="none is given"):
        Classifier().load(None, CPU)
    with pytest.raises(ConfigError, match="needs a dataset with classes, and ring has none"):
        Classifier().load(Ring(), CPU)
    with pytest.raises(ContractError, match="has no labels"):
        SMALL.load(Unlabelled(), CPU)
    assert Classifier().mismatch(SimpleNamespace(dataset=Digits())) is None
    assert "has none" in Classifier().mismatch(SimpleNamespace(dataset=Ring()))


@pytest.mark.parametrize(("most", "passes"), [(10**9, 3), (2 * 1198, 2), (100, 1)])
def test_a_large_training_split_is_passed_through_fewer_times(monkeypatch, most, passes):
    seen = []
    take = Samples.take
    monkeypatch.setattr(Samples, "take", lambda self, index: seen.append(len(index)) or take(self, index))
    monkeypatch.setattr(extractors, "SEEN", most)
    Classifier(epochs=3, features=8).load(Digits(), CPU)
    assert sum(seen) == passes * 1198
