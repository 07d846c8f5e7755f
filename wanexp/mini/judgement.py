"""The questions that wan-mini has to answer, each a function of its folder: numbers, no opinions.

``python -m wanexp.mini.judgement FOLDER --out FILE`` asks all of them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

from wanexp.images import Box
from wanexp.metrics import flow, measure
from wanexp.metrics.flow import Mask
from wanexp.metrics.planes import luma
from wanexp.mini import evaluation as made
from wanexp.mini.evaluation import HeldOut
from wanexp.mini.expert_training import first_frame_mask
from wanexp.mini.folder import load_expert, load_vae
from wanexp.mini.latents import read_texts, told
from wanexp.mini.onepass import encode_moments
from wanexp.world.scene import CAMERA

FPS = 12
PX_PER_FRAME = 0.25
"""A picture's edge that moves less than this stands still; the slowest camera moves it 0.6."""

CFGS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
STEPS = (2, 4, 8, 15, 25, 50, 100)
SIGMAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.88, 0.9, 0.92, 0.95, 0.98, 1.0)
GRAIN = 20.0
"""Deviation of the grain that is sent through the VAE, grey levels."""

GRAIN_WIDTHS = (0.0, 1.0, 2.0, 4.0)
"""Deviations of the Gaussian that grain is smoothed with, px."""

BLOCK, NUMBERS = 8, 16
"""Side in px of what a place of a latent frame stands for, and how many numbers it has."""

COLOURS = np.array([[3**-0.5] * 3, [2**-0.5, 0.0, -(2**-0.5)], [6**-0.5, -2 * 6**-0.5, 6**-0.5]])
"""Brightness and two colour differences, orthonormal."""

FAULT_METRICS = {"flickering": "flicker", "blurry": "detail", "warping": "warp", "noisy": "noise"}


@dataclass(frozen=True, kw_only=True)
class Motion:
    """What a camera does to the picture from frame to frame: px right, px down, % larger."""

    right: float
    down: float
    nearer: float


def reconstruction(folder: Path, truth: HeldOut) -> dict[str, object]:
    """PSNR through the VAE and back: each scene, its first frame, and each photograph, in dB."""
    scenes = [made.psnr(made.reconstruct(folder, video), video) for video in truth.videos]
    firsts = [made.psnr(made.reconstruct(folder, v[:1]), v[:1]) for v in truth.videos]
    photographs = {
        name: made.psnr(made.reconstruct(folder, picture[None]), picture[None])
        for name, picture in made.held_out_photographs().items()
    }
    return {"scenes": scenes, "first_frames": firsts, "photographs": photographs}


def grain_through(folder: Path, truth: HeldOut, count: int = 4) -> list[dict[str, float]]:
    """Which part of grain, new in every frame, comes through the VAE, over its width in px.

    The regression of what grain changes in the reconstruction on the grain itself: 1 is all of it.
    """
    shares: dict[float, list[float]] = {width: [] for width in GRAIN_WIDTHS}
    draw = np.random.default_rng(0)
    for video in truth.videos[:count]:
        clean = made.reconstruct(folder, video).astype(float)
        fine = draw.standard_normal((*video.shape[:3], 1))
        fine[0] = 0.0
        for width, known in shares.items():
            grains = gaussian_filter(fine, (0, width, width, 0)) if width else fine
            grainy = np.clip(video + grains * (GRAIN / grains[1:].std()), 0, 255).astype(np.uint8)
            put = grainy.astype(float) - video
            through = made.reconstruct(folder, grainy) - clean
            known.append(float((put * through).sum() / (put * put).sum()))
    return [{"width": width, "share": float(np.mean(known))} for width, known in shares.items()]


def limits(folder: Path, truth: HeldOut) -> dict[str, dict[str, float]]:  # noqa: ARG001
    """PSNR of each photograph where every 8 × 8 block may keep 16 numbers, as the latent does, dB.

    ``basis``: of the best linear basis for that very picture (Karhunen–Loève); ``chosen``: the
    greatest of each block's own cosine coefficients, which ones being told for nothing.
    """
    answers = {}
    for name, picture in made.held_out_photographs().items():
        rows = range(0, picture.shape[0], BLOCK), range(0, picture.shape[1], BLOCK)
        blocks = np.stack(
            [picture[y : y + BLOCK, x : x + BLOCK] for y in rows[0] for x in rows[1]]
        ).astype(np.float64)
        flat = blocks.reshape(len(blocks), -1) - blocks.mean(0).ravel()
        _, powers, _ = np.linalg.svd(flat, full_matrices=False)
        waves = np.asarray(dctn(blocks @ COLOURS.T, axes=(1, 2), norm="ortho"))
        smallest = np.sort(waves.reshape(len(blocks), -1) ** 2, axis=1)[:, :-NUMBERS]
        lost = {"basis": (powers[NUMBERS:] ** 2).sum(), "chosen": smallest.sum()}
        answers[name] = {
            way: float(10 * np.log10(255**2 * flat.size / error)) for way, error in lost.items()
        }
    return answers


def continuation(folder: Path, truth: HeldOut, *, cfg: float, steps: int) -> dict[str, object]:
    """Distance to the true continuation, beside that of a still; first frame; detail kept."""
    recipe = made.with_setting(made.ONE_STAGE, cfg=cfg, steps=steps)
    rows = []
    for video, prompt in zip(truth.videos, truth.prompts, strict=True):
        result = made.make(folder, video[0], prompt, recipe=recipe)
        still = np.repeat(video[:1], len(video), axis=0)
        rows.append(
            {
                "prompt": prompt,
                "made": made.distance(result, video),
                "still": made.distance(still, video),
                "first_frame": made.psnr(result[:1], video[:1]),
                "detail": _value(result, video[0], "detail"),
            }
        )
    ratio = sum(row["made"] for row in rows) / sum(row["still"] for row in rows)
    known = [row["detail"] for row in rows if row["detail"] is not None]
    return {"ratio": ratio, "detail": float(np.median(known)), "rows": rows}


def obedience(folder: Path, truth: HeldOut) -> dict[str, object]:
    """Whether the camera does what the prompt says, on scenes and on photographs, at cfg 2.

    Scenes whose own true video does not show it (a pan along stripes) are left out and counted.
    """
    rows, unseen = [], 0
    for video, prompt, away in zip(truth.videos, truth.prompts, truth.crossed, strict=True):
        if follows(camera_motion(video, away), _camera(prompt)):
            rows.append(_obeyed(folder, video[0], prompt, "scene", away))
        else:
            unseen += 1
    for name, picture in made.held_out_photographs().items():
        for number, camera in enumerate(CAMERA):
            speed = "" if camera == "static" else (" slowly", " fast")[number % 2]
            prompt = f"high quality, camera {camera}{speed}"
            rows.append(_obeyed(folder, picture, prompt, name))
    share = float(np.mean([row["obeyed"] for row in rows]))
    return {"share": share, "unseen": unseen, "rows": rows}


def negatives(folder: Path, truth: HeldOut, count: int = 8) -> dict[str, object]:
    """Each fault's metric where its word is the positive prompt, and where it is the negative."""
    answers: dict[str, object] = {}
    for word, metric in FAULT_METRICS.items():
        rows = []
        for video, prompt in list(zip(truth.videos, truth.prompts, strict=True))[:count]:
            rest = prompt.removeprefix("high quality")
            asked = made.make(folder, video[0], word + rest, negative="high quality")
            averse = made.make(folder, video[0], prompt, negative=word)
            pair = [_value(result, video[0], metric) for result in (asked, averse)]
            rows.append({"positive": pair[0], "negative": pair[1]})
        known = [row for row in rows if None not in row.values()]
        ratios = [row["positive"] / row["negative"] for row in known]
        answers[word] = {
            "metric": metric,
            "ratio": float(np.exp(np.mean(np.log(ratios)))) if ratios else None,
            "rows": rows,
        }
    return answers


def faces(folder: Path, truth: HeldOut) -> dict[str, object]:
    """Face detail that two stages keep, on every held-out scene with a face."""
    rows = []
    for video, prompt, box in zip(truth.videos, truth.prompts, truth.faces, strict=True):
        if box is not None:
            result = made.make(folder, video[0], prompt, recipe=made.TWO_STAGES)
            values = [_value(v, video[0], "face_detail", box) for v in (result, video)]
            rows.append({"prompt": prompt, "made": values[0], "truth": values[1]})
    known = [row["made"] for row in rows if row["made"] is not None]
    return {"median": float(np.median(known)), "defined": len(known), "rows": rows}


def guidance(folder: Path, truth: HeldOut, count: int = 8) -> list[dict[str, float]]:
    """Distance to the truth, and the detail that is kept, over cfg."""
    few = _few(truth, count)
    return [{"cfg": cfg, **_summary(continuation(folder, few, cfg=cfg, steps=25))} for cfg in CFGS]


def patience(folder: Path, truth: HeldOut, count: int = 6) -> list[dict[str, float]]:
    """The same over steps, at cfg 1.5."""
    few = _few(truth, count)
    return [
        {"steps": steps, **_summary(continuation(folder, few, cfg=1.5, steps=steps))}
        for steps in STEPS
    ]


@torch.no_grad()
def experts(folder: Path, truth: HeldOut, count: int = 32) -> list[dict[str, float]]:
    """Mean squared error of each expert's velocity over the noise level."""
    vae = load_vae(folder).eval()
    mean, deviation = (
        torch.tensor(vae.config[key]).view(1, -1, 1, 1, 1)
        for key in ("latents_mean", "latents_std")
    )
    videos = [made.as_tensor(video)[None] for video in truth.videos[:count]]
    clean = torch.cat([encode_moments(vae, v)[0] for v in videos])
    source = torch.cat([encode_moments(vae, told(v[:, :, :1]))[0] for v in videos])
    clean, source = (clean - mean) / deviation, (source - mean) / deviation
    texts = read_texts(folder, truth.prompts[:count], torch.device("cpu")).float()
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    mask = first_frame_mask(torch.device("cpu")).expand(len(clean), -1, -1, -1, -1)
    models = {name: load_expert(folder, name).eval() for name in ("high", "low")}
    rows = []
    for sigma in SIGMAS:
        row = {"sigma": sigma}
        inputs = torch.cat([(1 - sigma) * clean + sigma * noise, mask, source], dim=1)
        for name, model in models.items():
            times = torch.full((len(clean),), sigma * 1000)
            velocity = model(inputs, times, texts, return_dict=False)[0]
            row[name] = float(((velocity - (noise - clean)) ** 2).mean())
        rows.append(row)
    return rows


def camera_motion(video: np.ndarray, away: Mask | None = None) -> Motion:
    """The background's usual motion from frame to frame, as a robust similarity explains it.

    ``away`` (H, W) is where things move by themselves. Beside a plain background they are most of
    what a flow can hold on to, and the similarity of the whole picture is theirs, not the camera's.
    """
    height, width = video.shape[1:3]
    greys = [np.rint(luma(frame)).astype(np.uint8) for frame in video]
    background = np.ones((height, width), bool) if away is None else ~away
    found = []
    for first, second in pairwise(greys):
        match = flow.match(first, second)
        camera = flow.fit_camera(match.forward, match.valid & background, flow.texture(first))
        if camera is not None:
            found.append(camera.flow(height, width))
    if not found:
        return Motion(right=0.0, down=0.0, nearer=0.0)
    field = np.median(found, axis=0)
    outward = (field[:, -1, 0] - field[:, 0, 0]).mean() / video.shape[2]
    return Motion(
        right=float(field[..., 0].mean()),
        down=float(field[..., 1].mean()),
        nearer=float(100 * outward),
    )


def follows(motion: Motion, camera: str) -> bool:
    """Whether the greatest part of a motion is the one that was asked for.

    A camera that pans left moves the picture right. A zoom counts by what it does at the edge.
    """
    edge = motion.nearer / 100 * made.WIDTH / 2
    parts = {
        "pans left": motion.right,
        "pans right": -motion.right,
        "pans up": motion.down,
        "pans down": -motion.down,
        "zooms in": edge,
        "zooms out": -edge,
    }
    if camera == "static":
        return max(parts.values()) < PX_PER_FRAME
    return parts[camera] == max(parts.values()) and parts[camera] > PX_PER_FRAME


def _obeyed(
    folder: Path, source: np.ndarray, prompt: str, where: str, away: Mask | None = None
) -> dict[str, object]:
    motion = camera_motion(made.make(folder, source, prompt), away)
    return {
        "where": where,
        "prompt": prompt,
        **asdict(motion),
        "obeyed": follows(motion, _camera(prompt)),
    }


def _camera(prompt: str) -> str:
    return prompt.partition("camera ")[2].removesuffix(" slowly").removesuffix(" fast")


def _value(
    video: np.ndarray, source: np.ndarray, metric: str, box: Box | None = None
) -> float | None:
    if metric == "noise":
        return grain(video)
    return measure(video, source, FPS, [metric], face_box=box)[metric].value


def grain(video: np.ndarray) -> float:
    """Deviation of what neighbouring pixels and frames do not share, in grey levels.

    The second difference across, down and in time leaves independent noise times the root of
    6·6·6, and of a smooth, slow picture nothing; the median is blind to edges.
    """
    rest = np.diff(video[1:].astype(np.float64), 2, axis=0)
    rest = np.diff(np.diff(rest, 2, axis=1), 2, axis=2)
    return float(np.median(np.abs(rest)) / 0.6745 / 6**1.5)


def _few(truth: HeldOut, count: int) -> HeldOut:
    return HeldOut(
        scenes=truth.scenes,
        videos=truth.videos[:count],
        prompts=truth.prompts[:count],
        faces=truth.faces[:count],
        crossed=truth.crossed[:count],
    )


def _summary(answer: dict[str, object]) -> dict[str, float]:
    ratio, detail = answer["ratio"], answer["detail"]
    assert isinstance(ratio, float)
    assert isinstance(detail, float)
    return {"ratio": ratio, "detail": detail}


QUESTIONS: dict[str, Callable[[Path, HeldOut], object]] = {
    "reconstruction": reconstruction,
    "grain": grain_through,
    "limits": limits,
    "continuation": lambda folder, truth: continuation(folder, truth, cfg=1.5, steps=25),
    "obedience": obedience,
    "negatives": negatives,
    "faces": faces,
    "guidance": guidance,
    "patience": patience,
    "experts": experts,
}


def ask(folder: Path, questions: Sequence[str], scenes: int, out: Path) -> None:
    """Asks, and adds each answer to a JSON file as it comes; others in the file stay."""
    truth = made.held_out(scenes)
    answers = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    for question in questions:
        begun = time.monotonic()
        answers[question] = QUESTIONS[question](folder, truth)
        answers["scenes"] = scenes
        out.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
        print(f"{question}: {time.monotonic() - begun:.0f} s", flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m wanexp.mini.judgement", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="a JSON file")
    parser.add_argument("--scenes", type=int, default=made.SCENES)
    parser.add_argument("--only", nargs="*", choices=QUESTIONS, default=list(QUESTIONS))
    asked = parser.parse_args()
    ask(asked.folder, asked.only, asked.scenes, asked.out)


if __name__ == "__main__":
    main()
