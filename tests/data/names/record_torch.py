"""Write `torch.txt`: what models of PyTorch store, and what their modules make of it.

    python record_torch.py

Recorded with torch 2.14, torchvision 0.29, timm 1.0 and transformers 5.24, on the device "meta", which has no weights.
A line "# NAME" begins a model, any other line has a name, a shape, and the unit axes by the class of the live module;
"-" for what is no kernel and no table, "?" for a transposed convolution in groups, "x" for a module of the model's own.
Of modules that differ in their numbers alone, the first two of each shape are kept.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
import transformers
from torch import nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

TORCHVISION = """
convnext_tiny densenet121 googlenet generator maskrcnn_resnet50_fpn mobilenet_v2 resnet18 resnext50_32x4d
swin_t swin_v2_t unet vit_b_16
"""
TIMM = """
coat_tiny efficientnet_b0 efficientnet_cc_b0_4e levit_128 pvt_v2_b0 regnetx_002 repvgg_a0 vit_tiny_patch16_224
"""
TRANSFORMERS = """
aria bert bit clip convnextv2 decision_transformer deepseek_v3 encodec falcon_mamba
fastspeech2_conformer_with_hifigan gpt2 gpt_oss granitemoe ibert imagegpt jetmoe llama llama4 mamba mixtral
openai-gpt qwen3_moe sam segformer speecht5 t5 univnet vits wav2vec2 whisper zamba
"""
KEPT = 2
FIRST = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Bilinear, nn.Embedding, nn.EmbeddingBag)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CELLS = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)


class Generator(nn.Sequential):
    """The generator of a DCGAN."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for one, other in ((100, 64), (64, 32), (32, 32), (32, 16)):
            layers += [nn.ConvTranspose2d(one, other, 4, 2, bias=False), nn.BatchNorm2d(other), nn.ReLU()]
        super().__init__(nn.Sequential(*layers, nn.ConvTranspose2d(16, 3, 4, 2, bias=False), nn.Tanh()))


class UNet(nn.Module):
    """Convolutions down and transposed ones up, of one width too."""

    def __init__(self) -> None:
        super().__init__()
        self.inc, self.down = self._double(3, 16), self._double(16, 32)
        self.up1, self.up2 = nn.ConvTranspose2d(32, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2, bias=False)
        self.conv, self.grouped = self._double(32, 16), nn.ConvTranspose2d(16, 32, 4, 2, groups=4)
        self.outc = nn.Conv2d(16, 2, 1)

    def _double(self, one: int, other: int) -> nn.Module:
        return nn.Sequential(
            *(nn.Conv2d(one, other, 3, bias=False), nn.BatchNorm2d(other), nn.ReLU()),
            *(nn.Conv2d(other, other, 3, bias=False), nn.BatchNorm2d(other), nn.ReLU()),
        )


def axes(module: nn.Module, own: str, array: torch.Tensor, buffer: bool) -> str:
    if array.dim() < 2 or buffer:
        return "-"
    if own == "weight" and isinstance(module, TRANSPOSED):
        return "1" if module.groups == 1 else "0" if array.shape[1] == 1 else "?"
    if own == "weight" and type(module).__name__ == "Conv1D":
        return "1"
    told = (own == "weight" and isinstance(module, FIRST)) or ("weight" in own and isinstance(module, CELLS))
    return "0" if told else "x"


def rows(model: nn.Module) -> Iterator[str]:
    seen: Counter[tuple[str, tuple[int, ...]]] = Counter()
    for path, module in model.named_modules():
        stored = dict(module.named_parameters(recurse=False)) | {
            name: array
            for name, array in module.named_buffers(recurse=False)
            if name not in module._non_persistent_buffers_set
        }
        names = {own: f"{path}.{own}" if path else own for own in stored}
        kind = (re.sub(r"[0-9]+", "#", path), tuple(tuple(array.shape) for array in stored.values()))
        seen[kind] += 1  # type: ignore[index]
        if seen[kind] <= KEPT:  # type: ignore[index]
            for own, array in stored.items():
                shape = "x".join(map(str, array.shape))
                yield f"{names[own]} {shape} {axes(module, own, array, own in module._buffers)}"


def models() -> Iterator[tuple[str, Any]]:
    own = {"generator": Generator, "unet": UNet}
    for name in TORCHVISION.split():
        bare = {"weights_backbone": None} if "rcnn" in name else {}
        yield name, own[name]() if name in own else torchvision.models.get_model(name, weights=None, **bare)
    for name in TIMM.split():
        yield name, timm.create_model(name, pretrained=False)
    for name in TRANSFORMERS.split():
        yield name, transformers.AutoModel.from_config(CONFIG_MAPPING[name]())


def main() -> None:
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    with torch.device("meta"):
        blocks = ["\n".join([f"# {name}", *rows(model)]) for name, model in models()]
    Path(__file__).with_name("torch.txt").write_text("\n".join(blocks) + "\n", "utf-8")


if __name__ == "__main__":
    main()
