"""Which file is which part, whether they belong together, and what that does to digests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.weights.tiny import comfy, expert, text_encoder, vae, write
from wanexp.config import model_tree, recipe_from, trial_digest, trial_from, weights_of
from wanexp.models import MODELS, fingerprint
from wanexp.strict import ConfigError
from wanexp.weights.check import check_files, word_of
from wanexp.weights.files import find_file, find_parts, find_tokenizer

A14B, DENSE = MODELS["wan22_i2v_a14b"], MODELS["wan22_ti2v_5b"]
WORDS = MODELS["wan22_t2v_a14b"]
RECIPE = {"stages": {"only": {"steps": 2}}}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {
        "experts.high": write(tmp_path / "i2v_high_noise.safetensors", expert(), number=1),
        "experts.low": write(tmp_path / "i2v_low_noise.safetensors", expert(), number=2),
        "vae": write(tmp_path / "vae.safetensors", vae()),
        "text_encoder": write(tmp_path / "umt5.safetensors", text_encoder()),
    }


def tree_of(files: dict[str, Path]) -> dict[str, object]:
    experts = {p.removeprefix("experts."): str(f) for p, f in files.items() if "." in p}
    single = {part: str(file) for part, file in files.items() if "." not in part}
    return {"name": "wan22_i2v_a14b", "experts": experts, **single}


def test_the_files_of_one_model_pass(files) -> None:
    assert check_files(A14B, files).keys() == files.keys()


WRONG = {
    r"experts\.high: x\.safetensors is a text-to-video expert \(16 input channels\); .* \(36\)": (
        "experts.high",
        expert(16),
    ),
    r"experts\.low: x\.safetensors is the TI2V-5B transformer \(48": (
        "experts.low",
        expert(48, 48),
    ),
    r"experts\.low: x\.safetensors is another Wan transformer \(52": ("experts.low", expert(52)),
    r"vae: x\.safetensors is Wan 2\.2's VAE, which the 5B uses \(48 .*needs Wan 2\.1's": (
        "vae",
        vae(48),
    ),
    r"vae: x\.safetensors is a Wan transformer, expected a VAE": ("vae", expert()),
    r"text_encoder: x\.safetensors is a VAE, expected a text encoder": ("text_encoder", vae()),
    "do not belong together: .*texts of width 8.*texts of width 9": (
        "experts.low",
        expert(text=9),
    ),
    "do not belong together: .*of width 128.*of width 256": ("experts.low", expert(width=256)),
}


@pytest.mark.parametrize("sentence", WRONG)
def test_a_wrong_or_mixed_file_is_refused_by_what_is_in_it(sentence, files, tmp_path) -> None:
    part, shapes = WRONG[sentence]
    files[part] = write(tmp_path / "x.safetensors", shapes, number=3)
    with pytest.raises(ConfigError, match=sentence):
        check_files(A14B, files)


def test_a_model_of_words_takes_experts_of_words_alone(files, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"is an image-to-video expert .*needs a text-to-video"):
        check_files(WORDS, files)
    for number, part in enumerate(("experts.high", "experts.low")):
        name = f"t2v_{part.removeprefix('experts.')}_noise.safetensors"
        files[part] = write(tmp_path / name, expert(16), number=number)
    assert check_files(WORDS, files).keys() == files.keys()


def test_the_5bs_files_are_the_5bs(tmp_path) -> None:
    files = {
        "experts.dense": write(tmp_path / "a.safetensors", expert(48, 48)),
        "vae": write(tmp_path / "b.safetensors", vae(48)),
    }
    check_files(DENSE, files)
    files["vae"] = write(tmp_path / "c.safetensors", vae())
    with pytest.raises(ConfigError, match=r"Wan 2\.1's VAE, which the A14B models use"):
        check_files(DENSE, files)


def test_one_expert_given_twice_is_refused_also_as_a_copy(files, tmp_path) -> None:
    one = write(tmp_path / "one.safetensors", expert(), number=5)
    for second in (one, Path(shutil.copy(one, tmp_path / "two.safetensors"))):
        with pytest.raises(ConfigError, match=r"holds the same weights as model\.experts\.high"):
            check_files(A14B, {**files, "experts.high": one, "experts.low": second})


def test_a_name_that_says_the_other_expert_is_refused(files) -> None:
    swapped = {"experts.high": files["experts.low"], "experts.low": files["experts.high"]}
    with pytest.raises(ConfigError, match=r"says of itself that it is the low expert; give it as"):
        check_files(A14B, {**files, **swapped})


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors", "high"),
        ("Wan2.2-I2V-A14B-LowNoise-fp16.safetensors", "low"),
        ("Wan2_2-I2V-A14B-HIGH_fp8_e4m3fn_scaled_KJ.safetensors", "high"),
        ("wan_flow.safetensors", None),
        ("high_to_low.safetensors", None),
        ("mine.safetensors", None),
    ],
)
def test_an_experts_name_is_read_from_its_file(name, word) -> None:
    assert word_of(A14B, name) == word


@pytest.mark.parametrize("given", ["", "models", "split_files"])
def test_a_comfyui_folder_gives_every_part_by_what_is_in_it(given, tmp_path) -> None:
    folder = comfy(tmp_path / given if given else tmp_path)
    found = find_parts(A14B, str(tmp_path), {})
    assert {part: Path(file).relative_to(folder).as_posix() for part, file in found.items()} == {
        "experts.high": "diffusion_models/wan2.2_i2v_high_noise_14B.safetensors",
        "experts.low": "diffusion_models/wan2.2_i2v_low_noise_14B.safetensors",
        "vae": "vae/wan_2.1_vae.safetensors",
        "text_encoder": "text_encoders/umt5_xxl.safetensors",
    }
    dense = find_parts(DENSE, str(tmp_path), {})
    assert Path(dense["experts.dense"]).name == "wan2.2_ti2v_5B.safetensors"
    assert Path(dense["vae"]).name == "wan2.2_vae.safetensors"


def test_two_files_for_one_part_are_asked_about(tmp_path) -> None:
    comfy(tmp_path)
    write(tmp_path / "unet" / "my_high.safetensors", expert(), number=7)
    with pytest.raises(ConfigError, match=r"several files for it \(my_high.*, wan2.2_i2v_high"):
        find_parts(A14B, str(tmp_path), {})
    found = find_parts(A14B, str(tmp_path), {"experts.high": "my_high.safetensors"})
    assert Path(found["experts.high"]) == tmp_path / "unet" / "my_high.safetensors"


def test_a_part_that_a_comfyui_folder_lacks_is_named(tmp_path) -> None:
    comfy(tmp_path)
    (tmp_path / "vae" / "wan_2.1_vae.safetensors").unlink()
    with pytest.raises(
        ConfigError, match=r"model\.vae: .* no file for it in vae; .*model\.vae=FILE"
    ):
        find_parts(A14B, str(tmp_path), {})


def test_a_links_loop_in_a_comfyui_folder_ends(tmp_path) -> None:
    comfy(tmp_path)
    (tmp_path / "vae" / "again").symlink_to(tmp_path / "vae")
    assert find_parts(A14B, str(tmp_path), {})


def test_a_misspelt_file_of_a_comfyui_folder_comes_with_the_nearest(tmp_path) -> None:
    comfy(tmp_path)
    with pytest.raises(ConfigError, match=r"did you mean 'wan_2\.1_vae\.safetensors'"):
        find_parts(A14B, str(tmp_path), {"vae": "wan_2.1_vaee.safetensors"})


def test_a_file_on_the_hub_comes_with_the_command_that_gets_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    name = "Comfy-Org/Wan_2.2_ComfyUI_Repackaged/split_files/vae/wan_2.1_vae.safetensors"
    assert find_parts(A14B, "a/b", {"vae": name}) == {"vae": name}
    command = "`hf download Comfy-Org/Wan_2.2_ComfyUI_Repackaged split_files/vae/wan_2.1_vae"
    with pytest.raises(ConfigError, match=command):
        find_file(name, "model.vae")


def test_a_tokenizer_is_a_folder_or_lies_in_one(tmp_path) -> None:
    with pytest.raises(ConfigError, match="no tokenizer in"):
        find_tokenizer(str(tmp_path), "model.tokenizer")
    inner = tmp_path / "tokenizer"
    inner.mkdir()
    (inner / "tokenizer.json").write_text("{}")
    assert find_tokenizer(str(tmp_path), "model.tokenizer") == inner
    assert find_tokenizer(str(inner), "model.tokenizer") == inner
    assert find_tokenizer(str(inner / "tokenizer.json"), "model.tokenizer").is_file()


# Configuration and digests


def test_a_recipe_carries_its_files_and_comes_back_from_its_record(files) -> None:
    recipe = recipe_from(tree_of(files), RECIPE)
    assert recipe.files == {part: str(path) for part, path in files.items()}
    assert recipe_from(model_tree(recipe), RECIPE) == recipe


def test_a_model_without_files_is_recorded_as_before() -> None:
    recipe = recipe_from({"name": "wan_mini"}, RECIPE)
    assert model_tree(recipe) == {"name": "wan_mini", "source": "wan-mini", "revision": None}
    assert weights_of(recipe) == fingerprint("wan-mini", None)


def test_null_means_that_the_source_holds_the_part(files) -> None:
    tree = {"name": "wan22_i2v_a14b", "experts": {"high": None, "low": None}, "vae": None}
    assert recipe_from(tree, RECIPE).files == {}


def test_an_expert_that_the_model_has_not_is_refused(files) -> None:
    tree = {"name": "wan22_i2v_a14b", "experts": {"hgih": str(files["experts.high"])}}
    with pytest.raises(ConfigError, match=r"model\.experts: .*'hgih'; did you mean 'high'"):
        recipe_from(tree, RECIPE)


def test_a_file_that_is_not_there_is_refused_while_planning(files) -> None:
    files["vae"].unlink()
    with pytest.raises(ConfigError, match=r"model\.vae: no file"):
        recipe_from(tree_of(files), RECIPE)


def trial_of(tree: dict[str, object]):
    case = {"name": "a", "image": "skimage:astronaut.png", "prompt": "b"}
    return trial_from({"model": tree, "recipe": RECIPE, "case": case, "seed": 0})


@pytest.mark.parametrize("part", ["experts.high", "experts.low", "vae", "text_encoder"])
def test_every_files_bytes_take_part_in_the_digest(part, files, tmp_path) -> None:
    before = trial_digest(trial_of(tree_of(files)), "plan")
    assert trial_digest(trial_of(tree_of(files)), "plan") == before
    content = files[part].read_bytes()
    files[part].write_bytes(content[:-1] + b"\x01")
    assert trial_digest(trial_of(tree_of(files)), "plan") != before


def test_a_source_of_which_nothing_is_used_does_not_count(files) -> None:
    whole = [
        weights_of(recipe_from({**tree_of(files), "source": s}, RECIPE)) for s in ("a/b", "c/d")
    ]
    assert whole[0] == whole[1]
    del files["vae"]
    mixed = [
        weights_of(recipe_from({**tree_of(files), "source": s}, RECIPE)) for s in ("a/b", "c/d")
    ]
    assert mixed[0] != mixed[1]
