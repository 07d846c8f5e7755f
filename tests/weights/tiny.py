"""Headers of tiny files: shapes are right, numbers are zeros."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from wanexp.weights.layouts import Shapes, text_shapes, transformer_shapes

TEXT = {
    "vocabulary": 11,
    "width": 8,
    "buckets": 4,
    "heads": 2,
    "inner": 8,
    "ffn": 12,
    "layers": 2,
}


def expert(into: int = 36, out: int = 16, *, text: int = 8, width: int = 128) -> Shapes:
    return transformer_shapes(
        {
            "width": width,
            "in_channels": into,
            "out_channels": out,
            "ffn": 16,
            "text": text,
            "frequencies": 8,
            "layers": 2,
        }
    )


def text_encoder() -> Shapes:
    return text_shapes(TEXT)


def vae(latent: int = 16) -> Shapes:
    return {
        "encoder.conv1.weight": (4, 3 if latent == 16 else 12, 3, 3, 3),
        "decoder.conv1.weight": (16, latent, 3, 3, 3),
        "conv2.weight": (latent, latent, 1, 1, 1),
    }


def write(path: Path, shapes: Mapping[str, tuple[int, ...]], *, number: float = 0.0) -> Path:
    """A file of these shapes, float16; two files are told apart by their ``number``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: np.full(shape, number, np.float16) for name, shape in shapes.items()}
    save_file(tensors, path)
    return path


def comfy(folder: Path) -> Path:
    """A ComfyUI models folder with the files of its official template, and others' beside them."""
    write(folder / "diffusion_models" / "wan2.2_i2v_high_noise_14B.safetensors", expert(), number=1)
    write(folder / "diffusion_models" / "wan2.2_i2v_low_noise_14B.safetensors", expert(), number=2)
    write(folder / "diffusion_models" / "wan2.2_ti2v_5B.safetensors", expert(48, 48))
    write(folder / "diffusion_models" / "t2v" / "wan2.2_t2v_high_noise_14B.safetensors", expert(16))
    write(folder / "diffusion_models" / "flux.safetensors", {"double_blocks.0.x": (2,)})
    (folder / "diffusion_models" / "broken.safetensors").write_bytes(b"\0" * 20)
    write(folder / "text_encoders" / "umt5_xxl.safetensors", text_encoder())
    write(folder / "vae" / "wan_2.1_vae.safetensors", vae())
    write(folder / "vae" / "wan2.2_vae.safetensors", vae(48))
    return folder
