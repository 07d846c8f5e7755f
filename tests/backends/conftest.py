"""Tiny random models in the real shapes: two experts with 36 or 16 channels, and the dense 48."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan import WanPipeline
from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from transformers import AutoTokenizer, UMT5Config, UMT5EncoderModel

from tests.backends.single_files import TEXT_WIDTH, transformer, vae_21
from wanexp.backends.random_parts import vae_22
from wanexp.models import weights_folder


@pytest.fixture(scope="session")
def tiny_a14b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An A14B-shaped folder: two experts, the source as mask and latent in extra channels."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        experts = [_narrow(36, 16) for _ in range(2)]
        return _save(tmp_path_factory.mktemp("a14b"), vae_21(), experts, boundary=0.9, expand=False)


@pytest.fixture(scope="session")
def wide_t2v(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T2V-A14B-shaped folder: two experts that see no source, fit to be single files."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        experts = [transformer(in_channels=16, out_channels=16) for _ in range(2)]
        folder = tmp_path_factory.mktemp("wide_t2v")
        return _save(folder, vae_21(), experts, boundary=0.875, expand=False, kind=WanPipeline)


@pytest.fixture(scope="session")
def tiny_5b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TI2V-5B-shaped folder: one expert, the source as a clean first latent frame."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        experts = [_narrow(48, 48)]
        return _save(
            tmp_path_factory.mktemp("5b"),
            vae_22(base_dim=4, decoder_base_dim=4),
            experts,
            boundary=None,
            expand=True,
        )


@pytest.fixture(scope="session")
def wide_a14b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An A14B-shaped folder whose parts could be written as single files."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        experts = [transformer(in_channels=36, out_channels=16) for _ in range(2)]
        folder = tmp_path_factory.mktemp("wide_a14b")
        return _save(folder, vae_21(), experts, boundary=0.9, expand=False)


@pytest.fixture(scope="session")
def wide_5b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of the TI2V-5B."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        experts = [transformer(in_channels=48, out_channels=48)]
        folder = tmp_path_factory.mktemp("wide_5b")
        return _save(
            folder, vae_22(base_dim=4, decoder_base_dim=4), experts, boundary=None, expand=True
        )


def _narrow(channels: int, out: int) -> WanTransformer3DModel:
    return transformer(in_channels=channels, out_channels=out, heads=2, width=12)


def _save(
    folder: Path,
    vae: AutoencoderKLWan,
    experts: list[WanTransformer3DModel],
    *,
    boundary: float | None,
    expand: bool,
    kind: type[WanPipeline | WanImageToVideoPipeline] = WanImageToVideoPipeline,
) -> Path:
    mini = weights_folder("wan-mini")
    assert mini is not None
    tokenizer = AutoTokenizer.from_pretrained(mini / "tokenizer")
    text = UMT5Config(
        vocab_size=len(tokenizer),
        d_model=TEXT_WIDTH,
        d_kv=16,
        d_ff=64,
        num_layers=1,
        num_heads=2,
    )
    pipeline = kind(
        tokenizer=tokenizer,
        text_encoder=UMT5EncoderModel(text),
        vae=vae,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        transformer=experts[0],
        boundary_ratio=boundary,
        expand_timesteps=expand,
    )
    if len(experts) > 1:
        pipeline.register_modules(transformer_2=experts[1])
    pipeline.save_pretrained(folder)
    return folder
