"""The house rules: who may import what, and what importing may not do."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted([*(ROOT / "wanexp").rglob("*.py"), *(ROOT / "analysis").rglob("*.py")])

# A library and the only places that may import it.
ONLY_IN = {
    "diffusers": ("wanexp/backends/", "wanexp/mini/"),
    "transformers": ("wanexp/backends/", "wanexp/mini/"),
    "mlflow": ("wanexp/track.py",),
    "hydra": ("wanexp/compose/",),
    "omegaconf": ("wanexp/compose/",),
    "optuna": ("wanexp/search.py",),
    "torchsde": ("wanexp/noise.py",),
    "rich": (
        "wanexp/show.py",
        "wanexp/bench/",
        "wanexp/progress.py",
        "wanexp/commands.py",
        "wanexp/compare.py",
        "wanexp/diagnose.py",
        "wanexp/doctor.py",
        "wanexp/rating/command.py",
        "wanexp/scoring.py",
    ),
    "matplotlib": ("wanexp/validation/plots.py", "wanexp/mini/"),
    "pandas": ("analysis/", "wanexp/show.py"),
    "cv2": ("wanexp/metrics/",),
    "av": ("wanexp/video.py",),
}
NO_TORCH = (
    "analysis/",
    "wanexp/__init__.py",
    "wanexp/cache.py",
    "wanexp/claim.py",
    "wanexp/compose/",
    "wanexp/config.py",
    "wanexp/footprint.py",
    "wanexp/images.py",
    "wanexp/memory.py",
    "wanexp/metrics/",
    "wanexp/models.py",
    "wanexp/names.py",
    "wanexp/options.py",
    "wanexp/order.py",
    "wanexp/plan.py",
    "wanexp/plan_rules.py",
    "wanexp/planned.py",
    "wanexp/presets/",
    "wanexp/rating/",
    "wanexp/recent.py",
    "wanexp/record.py",
    "wanexp/recording.py",
    "wanexp/sampler_facts.py",
    "wanexp/schedules.py",
    "wanexp/seeds.py",
    "wanexp/step_cache.py",
    "wanexp/strict.py",
    "wanexp/study.py",
    "wanexp/video.py",
    "wanexp/weights/",
)
# LPIPS is a network; it loads torch when it is asked for, and nothing before that does.
TORCH_WHEN_ASKED = ("wanexp/metrics/perceptual.py",)
# Data flows one way: a room may import only from rooms before it.
ROOMS = (
    ("names", "recent", "seeds", "world", "nvml"),
    ("sampler_facts", "troubles"),
    ("schedules",),
    ("strict", "models"),
    ("images", "memory", "step_cache", "weights"),
    ("config",),
    ("plan_rules", "footprint"),
    ("plan",),
    ("samplers", "video", "metrics", "owner", "stopping", "behind", "tracking"),
    ("denoise", "noise", "claim"),
    ("backends", "record", "options", "cache"),
    ("generate", "recording", "environment", "monitor", "planned", "compose"),
    ("order", "study", "track"),
    ("estimate", "outcome", "ladder", "pace"),
    ("staged",),
    ("making",),
    ("run",),
    ("runner", "show", "progress", "mirror"),
    ("rounds", "compare"),
    ("search", "presets", "rating"),
    ("report",),
    ("calibrate", "commands", "doctor", "scoring", "validation"),
    ("diagnose", "bench"),
    ("cli", "multirun"),
)
LONGEST = 450


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> list[str]:
    """Modules that a file imports anywhere, type-checking blocks included."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append(node.module)
    return found


def type_only(path: Path) -> set[str]:
    """Modules imported under TYPE_CHECKING: names for the checker, nothing at run time."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            inner = [n for n in ast.walk(node) if isinstance(n, ast.ImportFrom)]
            found |= {n.module for n in inner if n.module}
            found |= {a.name for n in ast.walk(node) if isinstance(n, ast.Import) for a in n.names}
    return found


def within(file: str, places: tuple[str, ...]) -> bool:
    return any(file == p or (p.endswith("/") and file.startswith(p)) for p in places)


@pytest.mark.parametrize("path", FILES, ids=place)
def test_each_library_is_imported_in_one_place(path):
    for module in imports(path):
        allowed = ONLY_IN.get(module.split(".")[0])
        assert allowed is None or within(place(path), allowed), f"{place(path)} imports {module}"


TORCHLESS = [
    p for p in FILES if within(place(p), NO_TORCH) and not within(place(p), TORCH_WHEN_ASKED)
]


@pytest.mark.parametrize("path", TORCHLESS, ids=place)
def test_torch_stays_out_of_what_plans_and_reads(path):
    assert not [m for m in imports(path) if m.split(".")[0] == "torch"]


@pytest.mark.parametrize("path", [p for p in FILES if place(p).startswith("analysis/")], ids=place)
def test_analysis_runs_nothing(path):
    banned = {"wanexp.run", "wanexp.runner", "wanexp.generate", "wanexp.backends"}
    assert not banned & set(imports(path))


@pytest.mark.parametrize("path", [p for p in FILES if place(p).startswith("wanexp/")], ids=place)
def test_data_flows_one_way(path):
    order = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
    room = place(path).removeprefix("wanexp/").split("/")[0].removesuffix(".py")
    if room in ("__init__", "mini", "world"):
        return
    assert room in order, f"{room} has no place in ROOMS"
    for module in set(imports(path)) - type_only(path):
        parts = module.split(".")
        if parts[0] == "wanexp" and len(parts) > 1 and parts[1] != room:
            assert order[parts[1]] < order[room], f"{room} imports {parts[1]}, which comes after it"


@pytest.mark.parametrize("path", FILES, ids=place)
def test_no_file_outgrows_a_reader(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("path", FILES, ids=place)
def test_importing_only_defines(path):
    """Definitions, constants and imports at the top level: no loops, no calls for effect."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        main = isinstance(node, ast.If) and "__name__" in ast.dump(node.test)
        checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        definition = isinstance(
            node,
            ast.Import
            | ast.ImportFrom
            | ast.FunctionDef
            | ast.ClassDef
            | ast.Assign
            | ast.AnnAssign,
        )
        assert docstring or main or checking or definition, f"line {node.lineno} does something"


def loaded_after(code: str) -> set[str]:
    """Top-level modules in a fresh interpreter after ``code``."""
    script = f"{code}\nimport sys; print(*{{m.split('.')[0] for m in sys.modules}})"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import wanexp",
        "import wanexp.cli; wanexp.cli.make_parser().format_help()",
        "import wanexp.plan, wanexp.config",
    ],
)
def test_nothing_heavy_loads_before_it_is_needed(code):
    assert not loaded_after(code) & {"torch", "diffusers", "mlflow", "hydra", "cv2"}


def test_analysis_loads_no_torch():
    assert "torch" not in loaded_after("import analysis.load, analysis.arms")


def test_the_metrics_load_no_torch():
    assert "torch" not in loaded_after("import wanexp.metrics")


def test_planning_a_sweep_loads_no_torch():
    code = (
        "from wanexp.compose import expand_sweep\nfrom wanexp.study import plan_trials\n"
        "plan_trials(expand_sweep('demo'))"
    )
    assert "torch" not in loaded_after(code)
