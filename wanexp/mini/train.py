"""Makes wan-mini from nothing: ``python -m wanexp.mini.train all --folder FOLDER``.

Its parts can be trained one by one, on several machines, each continuing from the folder that the
one before it left: ``words``, ``vae``, ``latents``, ``high``, ``low``. Under ``torchrun`` the VAE
trains on several GPUs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from wanexp.mini.expert_training import RANGES, train_expert
from wanexp.mini.folder import save_words
from wanexp.mini.latents import encode_scenes, load_school, set_statistics
from wanexp.mini.loop import Log, Span, start_workers
from wanexp.mini.vae_training import train_vae
from wanexp.world.textures import texture_bank

PARTS = ("words", "vae", "latents", "statistics", "high", "low", "all")
BANK_SEED = 1
HELD_OUT_BANK_SEED = 2
HELD_OUT_SCENES_SEED = 2**40
"""Far from every training seed."""


def main() -> None:
    """The command line."""
    asked = _arguments()
    torch.set_float32_matmul_precision("high")
    parts = ("words", "vae", "latents", "statistics", "high", "low")
    for part in parts if asked.part == "all" else (asked.part,):
        run_part(part, asked)


def run_part(part: str, asked: argparse.Namespace) -> None:
    """One part, on what the folder holds."""
    folder, log = asked.folder, Log(asked.journal or asked.folder / "training.jsonl")
    span = Span(seconds=asked.seconds, begin=asked.begin, end=asked.end)
    rank, workers, device = start_workers()
    caches = sorted(asked.cache.glob("latents-*.pt")) if asked.cache.exists() else []
    if part == "words":
        save_words(folder)
    elif part == "vae":
        bank = texture_bank(asked.textures, seed=BANK_SEED, device=device)
        train_vae(folder, bank, span, log, seed=asked.seed, decoder_only=asked.decoder_only)
    elif part == "latents":
        asked.cache.mkdir(parents=True, exist_ok=True)
        bank = texture_bank(asked.textures, seed=BANK_SEED, device=device)
        path = asked.cache / f"latents-{rank}.pt"
        count = asked.videos // workers
        encode_scenes(folder, bank, count, path, log, seed=asked.seed + rank * 2**32)
    elif part == "statistics":
        set_statistics(folder, caches)
    else:
        school = load_school(folder, caches, device)
        noise = asked.noise or part
        train_expert(folder, school, part, span, log, noise=noise, seed=asked.seed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m wanexp.mini.train", description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument(
        "--folder", type=Path, required=True, help="the model's folder, which grows"
    )
    parser.add_argument("--cache", type=Path, default=Path("wan-mini-latents"), help="of latents")
    parser.add_argument("--journal", type=Path, help="default: training.jsonl in the folder")
    parser.add_argument("--seconds", type=float, default=600, help="of training for this part")
    parser.add_argument(
        "--begin", type=float, default=0.0, help="share of the schedule done before"
    )
    parser.add_argument("--end", type=float, default=1.0, help="share of the schedule done after")
    parser.add_argument("--seed", type=int, default=1000, help="another for each continuation")
    parser.add_argument("--textures", type=int, default=6144)
    parser.add_argument("--videos", type=int, default=65536, help="to encode for the experts")
    parser.add_argument("--noise", choices=RANGES, help="levels an expert sees; default: its own")
    parser.add_argument("--decoder-only", action="store_true", help="keep every latent as it is")
    return parser.parse_args()


if __name__ == "__main__":
    main()
