"""The parts of wan-mini as they are before any training: their shapes, words and random text model.

Shaped like Wan 2.2 A14B: two experts of one shape told the source beside the noisy latent, a causal
video VAE with strides 8×8×4 and 16 channels, a UMT5 text encoder. All of it together stays under
40 MiB in half precision.
"""

from __future__ import annotations

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from wanexp.world.captions import vocabulary

WIDTH = HEIGHT = 128
FRAMES = 17
LATENT_CHANNELS, LATENT_FRAMES, LATENT_CELLS = 16, 5, 16
MAX_TOKENS = 24
TEXT_WIDTH = 128
BOUNDARY = 0.9
SHIFT = 2.0


def new_vae() -> AutoencoderKLWan:
    """Works on 2×2 patches of pixels, half as dear as pixels; most of its weights decode."""
    return AutoencoderKLWan(
        base_dim=48,
        decoder_base_dim=64,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_temporal=4,
        scale_factor_spatial=8,
        latents_mean=[0.0] * LATENT_CHANNELS,
        latents_std=[1.0] * LATENT_CHANNELS,
    )


def new_expert() -> WanTransformer3DModel:
    """320 tokens a video, six layers of width 256."""
    return WanTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=64,
        in_channels=2 * LATENT_CHANNELS + 4,
        out_channels=LATENT_CHANNELS,
        text_dim=TEXT_WIDTH,
        freq_dim=128,
        ffn_dim=768,
        num_layers=6,
    )


def new_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, and one for all unknown ones."""
    words = ["<pad>", "</s>", "<unk>", *vocabulary()]
    table = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(table, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A $B </s>", special_tokens=[("</s>", table["</s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def new_text_encoder(seed: int = 0) -> UMT5EncoderModel:
    """Random and never trained: with 40 words the experts learn to read whatever it says."""
    words = 3 + len(vocabulary())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UMT5EncoderModel(
            UMT5Config(
                vocab_size=words,
                d_model=TEXT_WIDTH,
                d_kv=32,
                d_ff=256,
                num_layers=1,
                num_heads=4,
                num_decoder_layers=1,
            )
        ).eval()
