"""Extractors against the code of others: torch-fidelity's Inception, a photograph, and networks of transformers."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from sklearn.datasets import load_sample_image
from torch import nn

import ganbench
from ganbench import ConfigError
from ganbench_zoo.extractors_inception import Inception, InceptionNetwork
from ganbench_zoo.extractors_transformers import CLIP, IMAGENET, CLIPVision, DINOv2

CPU = torch.device("cpu")


@pytest.fixture
def torch_fidelity_inception(monkeypatch) -> Iterator[Any]:
    """torch-fidelity's module alone: its package imports torchvision, which nothing here needs."""
    found = importlib.util.find_spec("torch_fidelity")
    assert found is not None
    package = types.ModuleType("torch_fidelity")
    package.__path__ = list(found.submodule_search_locations or [])
    before = {name for name in sys.modules if name.startswith("torch_fidelity")}
    for name in before:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)
    yield importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    for name in [name for name in sys.modules if name.startswith("torch_fidelity.")]:
        del sys.modules[name]


@pytest.mark.parametrize(("height", "width"), [(32, 32), (299, 299), (340, 310)])
def test_inception_equals_torch_fidelity_on_the_same_random_weights(torch_fidelity_inception, tmp_path, height, width):
    torch.manual_seed(0)
    network = InceptionNetwork()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    path = tmp_path / "weights.pth"
    torch.save(network.state_dict(), path)
    theirs = torch_fidelity_inception.FeatureExtractorInceptionV3(
        "random", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(path)
    )
    ours = Inception(weights=str(path), sha256="").load(None, CPU)
    x = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
    features, logits = theirs(x)
    assert features.std() > 0.01  # so that equality says something
    torch.testing.assert_close(ours(x), features, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.logits(x), logits, rtol=1e-5, atol=1e-6)


def test_efficientnet_sees_a_daisy_on_the_photograph_of_one():
    photo = torch.from_numpy(load_sample_image("flower.jpg").copy()).permute(2, 0, 1)[None]
    square = photo[..., (640 - 427) // 2 : (640 + 427) // 2]
    features = ganbench.create("extractor", "efficientnet-lite0").load(None, CPU)
    assert features(square).shape == (1, 1280)
    assert features.logits(square).argmax(1).tolist() == [985]


def tiny(kind: str) -> Any:
    """A network of a few thousand random weights."""
    import transformers

    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    if kind == "dinov2":
        return transformers.Dinov2Model(transformers.Dinov2Config(**shape)).eval()
    config = transformers.CLIPVisionConfig(**shape, intermediate_size=64, projection_dim=16)
    return transformers.CLIPVisionModelWithProjection(config).eval()


@pytest.mark.parametrize(
    ("kind", "statistics", "what"), [("dinov2", IMAGENET, "pooler_output"), ("clip", CLIP, "image_embeds")]
)
def test_networks_of_transformers_are_read_from_a_folder(tmp_path, kind, statistics, what):
    network = tiny(kind)
    network.save_pretrained(tmp_path)
    extractor = DINOv2(weights=str(tmp_path), side=28) if kind == "dinov2" else CLIPVision(weights=str(tmp_path))
    features = extractor.load(None, CPU)
    x = torch.randint(0, 256, (3, 3, 28, 28), dtype=torch.uint8)
    mean, std = (torch.tensor(s).view(1, 3, 1, 1) for s in statistics)
    with torch.no_grad():
        expected = getattr(network(pixel_values=(x / 255 - mean) / std), what)
    torch.testing.assert_close(features(x), expected, rtol=1e-4, atol=1e-5)
    assert len(features.digest) == 16
    assert "28 x 28" in features.preprocessing
    other = "clip" if kind == "dinov2" else "dinov2"
    tiny(other).save_pretrained(tmp_path / "other")
    with pytest.raises(ConfigError):
        type(extractor)(weights=str(tmp_path / "other")).load(None, CPU)


def test_weights_that_are_not_in_the_local_cache_say_how_to_fetch_them(tmp_path, monkeypatch):
    for extractor in (DINOv2(weights="nobody/nothing"), CLIPVision(weights="nobody/nothing")):
        with pytest.raises(ConfigError, match="hf download nobody/nothing"):
            extractor.load(None, CPU)
