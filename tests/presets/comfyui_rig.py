"""A real ComfyUI made ready for the live tests, and how they ask it.

    python tests/presets/comfyui_rig.py /path/to/ComfyUI
    cd /path/to/ComfyUI && python main.py --cpu --port 8199
    WANEXP_COMFYUI_URL=http://127.0.0.1:8199 pytest tests/presets/test_comfyui_live.py

    python tests/presets/comfyui_rig.py --facts http://127.0.0.1:8199

The last line writes down what the server says of its nodes, for the tests that run without one.
The first puts the two small experts of ``tests/golden/e2e``, under Wan's own names, into the
folders of models, with a small LoRA, and a node with their conditions beside ComfyUI's own.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import torch
from safetensors.torch import load, load_file, save_file
from torch import Tensor

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "e2e"
NODE = Path(__file__).resolve().parent / "comfyui_golden_node.py"
FILES = {
    "high": "wanexp_high.safetensors",
    "low": "wanexp_low.safetensors",
    "dense": "wanexp_dense.safetensors",
}
WORDS = {"high": "wanexp_words_high.safetensors", "low": "wanexp_words_low.safetensors"}
PARTS = {"high": "transformer", "low": "transformer_2"}
LORA = "wanexp_lora.safetensors"
TEXT = 4096
"""The width that ComfyUI takes every Wan's text to have; the golden ones are 24 of these."""

DIFFUSERS_TO_WAN = (
    (r"^condition_embedder\.time_embedder\.linear_1\.", "time_embedding.0."),
    (r"^condition_embedder\.time_embedder\.linear_2\.", "time_embedding.2."),
    (r"^condition_embedder\.text_embedder\.linear_1\.", "text_embedding.0."),
    (r"^condition_embedder\.text_embedder\.linear_2\.", "text_embedding.2."),
    (r"^condition_embedder\.time_proj\.", "time_projection.1."),
    (r"^proj_out\.", "head.head."),
    (r"^scale_shift_table$", "head.modulation"),
    (r"\.scale_shift_table$", ".modulation"),
    (r"\.attn1\.", ".self_attn."),
    (r"\.attn2\.", ".cross_attn."),
    (r"\.to_([qkv])\.", r".\1."),
    (r"\.to_out\.0\.", ".o."),
    (r"\.norm2\.", ".norm3."),
    (r"\.ffn\.net\.0\.proj\.", ".ffn.0."),
    (r"\.ffn\.net\.2\.", ".ffn.2."),
)


def wan_name(name: str) -> str:
    """A diffusers parameter by the name that Wan's own code gives it."""
    for pattern, replacement in DIFFUSERS_TO_WAN:
        name = re.sub(pattern, replacement, name)
    return name


def widened(text: Tensor) -> Tensor:
    """A text embedding, or the weight that reads one, with zeros up to ComfyUI's width."""
    return torch.nn.functional.pad(text, (0, TEXT - text.shape[-1])).contiguous()


def lora(seed: int = 5) -> dict[str, Tensor]:
    """A small LoRA by Wan's own names, for attention and the feed-forward layers."""
    draw = torch.Generator().manual_seed(seed)
    layers = {"self_attn.q": (128, 128), "cross_attn.o": (128, 128), "ffn.0": (128, 256)}
    found = {}
    for layer, (width, out) in layers.items():
        name = f"diffusion_model.blocks.0.{layer}"
        found[f"{name}.lora_down.weight"] = torch.randn(4, width, generator=draw) / 8
        found[f"{name}.lora_up.weight"] = torch.randn(out, 4, generator=draw) / 8
        found[f"{name}.alpha"] = torch.tensor(2.0)
    return found


def dense(folder: Path) -> dict[str, Tensor]:
    """A random expert in the shape of TI2V-5B, written for diffusers too; by Wan's own names."""
    return _random(folder / "transformer", 48, seed=7)


def words(folder: Path) -> dict[str, dict[str, Tensor]]:
    """The same of T2V-A14B's two, by expert."""
    return {
        expert: _random(folder / part, 16, seed=11 + number)
        for number, (expert, part) in enumerate(PARTS.items())
    }


def _random(folder: Path, channels: int, seed: int) -> dict[str, Tensor]:
    from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

    torch.manual_seed(seed)
    expert = WanTransformer3DModel(
        num_attention_heads=1,
        attention_head_dim=128,
        in_channels=channels,
        out_channels=channels,
        text_dim=TEXT,
        ffn_dim=256,
        num_layers=2,
    )
    expert.save_pretrained(folder)
    return {wan_name(key): value.contiguous() for key, value in expert.state_dict().items()}


def first_frame() -> Tensor:
    """What the picture of the random expert's tests is encoded to, in model space."""
    return torch.randn(1, 48, 1, 6, 8, generator=torch.Generator().manual_seed(9))


def install(comfyui: Path) -> None:
    for expert, part in PARTS.items():
        found = load_file(GOLDEN / part / "diffusion_pytorch_model.safetensors")
        weights = {wan_name(key): value for key, value in found.items()}
        weights["text_embedding.0.weight"] = widened(weights["text_embedding.0.weight"])
        save_file(weights, comfyui / "models" / "diffusion_models" / FILES[expert])
    save_file(lora(), comfyui / "models" / "loras" / LORA)
    node = comfyui / "custom_nodes" / "wanexp_golden"
    node.mkdir(exist_ok=True)
    given = load_file(GOLDEN / "inputs.safetensors")
    given |= {key: widened(given[key]) for key in ("positive", "negative")}
    save_file(given, node / "inputs.safetensors")
    save_file({"latent": first_frame()}, node / "first.safetensors")
    with tempfile.TemporaryDirectory() as folder:
        models = comfyui / "models" / "diffusion_models"
        save_file(dense(Path(folder)), models / FILES["dense"])
        for expert, weights in words(Path(folder)).items():
            save_file(weights, models / WORDS[expert])
    newer = "class ManualSigmas" in (comfyui / "comfy_extras/nodes_custom_sampler.py").read_text()
    tail = "" if newer else "\nNODE_CLASS_MAPPINGS |= OLDER\n"
    (node / "__init__.py").write_text(NODE.read_text() + tail)


def sampling_only(graph: dict[str, dict]) -> tuple[dict[str, dict], dict[str, str]]:
    """A workflow with the golden conditions in place of texts, picture and VAE.

    Returned with it: the id of every sampler → that of the node that saves its latent.
    """
    left_out = ("CLIPLoader", "VAELoader", "CLIPTextEncode", "LoadImage", "VAEDecode")
    left_out += ("VAEDecodeTiled", "CreateVideo", "SaveVideo")
    kept = {name: node for name, node in graph.items() if node["class_type"] not in left_out}
    for name, node in kept.items():
        if node["class_type"] == "WanImageToVideo":
            kept[name] = {"class_type": "WanexpGolden", "inputs": {}}
        elif node["class_type"] == "Wan22ImageToVideoLatent":
            told = {"vae": ["known", 2], "start_image": ["known", 3]}
            kept[name] = {**node, "inputs": {**node["inputs"], **told}}
    if "WanexpGolden" not in {node["class_type"] for node in kept.values()}:
        kept = {name: _known_texts(node, graph) for name, node in kept.items()}
        kept["known"] = {"class_type": "WanexpKnown", "inputs": {}}
    savers = {}
    for name in [n for n, node in kept.items() if "latent_image" in node["inputs"]]:
        savers[name], given = f"save{name}", [name, 0]
        if "known" in kept:
            inputs = {"samples": given}
            kept[f"own{name}"] = {"class_type": "WanexpModelSpace", "inputs": inputs}
            given = [f"own{name}", 0]
        inputs = {"samples": given, "filename_prefix": f"wanexp/{name}"}
        kept[savers[name]] = {"class_type": "SaveLatent", "inputs": inputs}
    return kept, savers


def _known_texts(node: dict, graph: dict[str, dict]) -> dict:
    """A node whose texts come from ``WanexpKnown``."""
    texts = {name for name, other in graph.items() if other["class_type"] == "CLIPTextEncode"}
    told = {
        key: ["known", int(key == "negative")]
        for key, value in node["inputs"].items()
        if isinstance(value, list) and value[0] in texts
    }
    return {**node, "inputs": {**node["inputs"], **told}}


class Server:
    """A ComfyUI that answers at ``url``."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return answer.read()

    def nodes(self) -> dict[str, dict]:
        return json.loads(self.get("/object_info"))

    def queue(self, graph: dict[str, dict]) -> dict:
        """ComfyUI's answer to ``/prompt``: ``prompt_id``, or ``error`` and ``node_errors``."""
        body = json.dumps({"prompt": graph}).encode()
        request = urllib.request.Request(
            self.url + "/prompt", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return json.loads(error.read())

    def latents(self, graph: dict[str, dict]) -> list[Tensor]:
        """The latent after every sampler, as ComfyUI hands it on, in the order of the chain."""
        kept, savers = sampling_only(graph)
        told = self.queue(kept)
        assert not told.get("error"), told
        assert not told["node_errors"], told
        outputs = self._wait(told["prompt_id"])
        return [self._latent(outputs[saver]["latents"][0]) for saver in savers.values()]

    def _wait(self, prompt: str) -> dict:
        for _ in range(600):
            history = json.loads(self.get(f"/history/{prompt}"))
            if prompt in history:
                status = history[prompt]["status"]
                assert status["status_str"] == "success", status["messages"]
                return history[prompt]["outputs"]
            time.sleep(0.1)
        raise TimeoutError(prompt)

    def _latent(self, file: dict[str, str]) -> Tensor:
        return load(self.get(f"/view?{urllib.parse.urlencode(file)}"))["latent_tensor"]


NODES = """
    UNETLoader CLIPLoader VAELoader LoadImage CLIPTextEncode WanImageToVideo ModelSamplingSD3
    Wan22ImageToVideoLatent EmptyHunyuanLatentVideo LoraLoaderModelOnly KSampler
    KSamplerAdvanced SamplerCustom SamplerCustomAdvanced CFGGuider RandomNoise DisableNoise
    KSamplerSelect BasicScheduler KarrasScheduler ExponentialScheduler SamplingPercentToSigma
    SplitSigmas SetFirstSigma ManualSigmas VAEDecode VAEDecodeTiled CreateVideo SaveVideo
"""
FILE_INPUTS = ("unet_name", "clip_name", "vae_name", "lora_name", "image")


def write_facts(url: str) -> None:
    """``comfyui_nodes.json``: node → its inputs (type, choices, limits) and outputs."""
    server = Server(url)
    said = server.nodes()
    facts = {name: {"outputs": said[name]["output"], "inputs": {}} for name in NODES.split()}
    for name, fact in facts.items():
        for group in ("required", "optional"):
            for key, told in said[name]["input"].get(group, {}).items():
                kind, more = told[0], told[1] if len(told) > 1 else {}
                choices = kind if isinstance(kind, list) else more.get("options")
                fact["inputs"][key] = {
                    "required": group == "required",
                    "type": "COMBO" if choices is not None else kind,
                    **({"options": choices} if choices and key not in FILE_INPUTS else {}),
                    **{limit: more[limit] for limit in ("min", "max") if limit in more},
                }
    version = json.loads(server.get("/system_stats"))["system"]["comfyui_version"]
    lines = [f"  {json.dumps(name)}: {json.dumps(fact)}" for name, fact in facts.items()]
    text = f'{{"comfyui": "{version}", "nodes": {{\n' + ",\n".join(lines) + "\n}}\n"
    (GOLDEN.parent / "comfyui_nodes.json").write_text(text)


if __name__ == "__main__":
    if sys.argv[1] == "--facts":
        write_facts(sys.argv[2])
    else:
        install(Path(sys.argv[1]))
