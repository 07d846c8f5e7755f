"""The verbs. Imports nothing heavy until a verb needs it, so that --help is quick."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

from wanexp.strict import ConfigError

INTERRUPTED = 130

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status. Errors of the user's are one sentence."""
    options = parse(arguments)
    verb: Callable[[argparse.Namespace], int] = options.verb
    try:
        return verb(options)
    except ConfigError as error:
        print(f"wanexp: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        where = f"stopped {stop}" if str(stop) else "stopped"
        print(f"\nwanexp: {where}; the same command goes on where it was", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Somebody closed our output (head, less); nothing is wrong, and nothing can be printed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # rich's own way of saying so
            return 0
        raise


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line, with overrides wherever they stand, before or after options."""
    parser = make_parser()
    options, rest = parser.parse_known_args(arguments)
    strangers = [t for t in rest if t.startswith("-") or not ("=" in t or t.startswith("~"))]
    if strangers or (rest and "overrides" not in options):
        parser.error(f"unrecognized arguments: {' '.join(strangers or rest)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def make_parser() -> argparse.ArgumentParser:
    """The command line, verb by verb."""
    parser = argparse.ArgumentParser(
        prog="wanexp",
        description="The lab bench for Wan 2.2 image-to-video: sweep sampling settings, score the"
        " videos, see which are better and what they cost.",
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    _add_running(verbs)
    _add_reading(verbs)
    _add_measuring(verbs)
    _add_machine(verbs)
    return parser


def _add_running(verbs: Verbs) -> None:
    """What makes videos, or says what making them takes."""
    demo = verbs.add_parser("demo", help="run a small real sweep on wan-mini, on any machine")
    _add_overrides(demo)
    _add_run_flags(demo)
    demo.set_defaults(verb=_demo)

    sweep = verbs.add_parser("sweep", help="run a sweep; what is finished is not run again")
    sweep.add_argument("name", help="a file of sweeps/, without .yaml")
    _add_overrides(sweep)
    _add_run_flags(sweep)
    sweep.set_defaults(verb=_sweep)

    plan = verbs.add_parser("plan", help="what a sweep would run: sigmas, experts, model calls")
    plan.add_argument("name", help="a file of sweeps/, without .yaml")
    _add_overrides(plan)
    plan.add_argument("--json", action="store_true", help="one JSON object on stdout")
    plan.set_defaults(verb=_plan)


def _add_reading(verbs: Verbs) -> None:
    """What reads studies and makes no videos."""
    compare = verbs.add_parser("compare", help="what a study says: verdicts, front, order")
    compare.add_argument("name", metavar="STUDY", help="a folder of studies/")
    _add_overrides(compare)
    compare.add_argument("--metric", metavar="NAME", help="instead of the protocol's primary")
    compare.add_argument("--json", action="store_true", help="one JSON object on stdout")
    compare.set_defaults(verb=_compare)

    report = verbs.add_parser("report", help="a page of the study: videos in step, verdicts, costs")
    report.add_argument("name", metavar="STUDY", help="a folder of studies/")
    _add_overrides(report)
    report.add_argument("--out", metavar="DIR", help="instead of the study's own folder")
    report.add_argument("--single-file", action="store_true", help="all in one HTML file")
    report.add_argument("--open", action="store_true", help="show it in the browser")
    report.add_argument("--json", action="store_true", help="one JSON object on stdout")
    report.set_defaults(verb=_report)

    diagnose = verbs.add_parser("diagnose", help="what went wrong between stages, and the fix")
    diagnose.add_argument("target", metavar="STUDY|DIGEST", help="a study, or one of its trials")
    _add_overrides(diagnose)
    diagnose.add_argument("--run", action="store_true", help="run each fix beside what it mends")
    diagnose.add_argument("--json", action="store_true", help="one JSON object on stdout")
    diagnose.set_defaults(verb=_diagnose)

    _add_presets(verbs)

    sync = verbs.add_parser("sync", help="mirror the records on disk into MLflow again")
    sync.add_argument("names", nargs="*", metavar="STUDY", help="all where none is given")
    sync.set_defaults(verb=_sync, overrides=[])

    _add_pages(verbs)


def _add_pages(verbs: Verbs) -> None:
    """What serves pages until Ctrl-C."""
    rate = verbs.add_parser("rate", help="say blind, by keyboard, which of two videos is better")
    rate.add_argument("name", metavar="STUDY", help="a folder of studies/")
    _add_overrides(rate)
    rate.add_argument("--rater", metavar="NAME", help="whose answers; default: your login")
    rate.add_argument("--results", action="store_true", help="count what was answered so far")
    rate.add_argument("--json", action="store_true", help="with --results, one JSON object")
    rate.add_argument("--port", type=int, default=0, help="default: any that is free")
    rate.add_argument("--host", default="127.0.0.1", help="default: this machine alone")
    rate.add_argument("--no-open", action="store_true", help="print the address, open no browser")
    rate.set_defaults(verb=_rate)

    ui = verbs.add_parser("ui", help="open MLflow's pages on the studies")
    _add_overrides(ui)
    ui.add_argument("--port", type=int, default=5000)
    ui.add_argument("--host", default="127.0.0.1")
    ui.set_defaults(verb=_ui)


def _add_presets(verbs: Verbs) -> None:
    """What takes recipes to other programs, and back."""
    export = verbs.add_parser("export", help="a preset for ComfyUI, diffusers, Hydra, or as YAML")
    export.add_argument("name", nargs="?", metavar="STUDY", help="none: recipe=… model=… as given")
    _add_overrides(export)
    which = export.add_mutually_exclusive_group()
    which.add_argument("--best", action="store_true", help="the winner, or else the baseline")
    which.add_argument("--arm", metavar="NAME")
    which.add_argument("--trial", metavar="DIGEST", help="its beginning is enough")
    export.add_argument("--metric", metavar="NAME", help="decides what is best")
    export.add_argument("--case", metavar="NAME", help="of an arm's trials; the first otherwise")
    export.add_argument("--seed", type=int, help="of an arm's trials; the first otherwise")
    export.add_argument("--model", metavar="NAME", help="the same stages for another model")
    export.add_argument("--to", default="preset", help="preset, comfyui, diffusers or hydra")
    export.add_argument(
        "--file",
        action="append",
        metavar="WHAT=NAME",
        help="comfyui: high, low, dense, clip, vae or image under another name",
    )
    export.add_argument("--out", metavar="FILE", help="- is standard output")
    export.add_argument("--json", action="store_true", help="one JSON object on stdout")
    export.set_defaults(verb=_export)

    import_ = verbs.add_parser("import", help="a ComfyUI workflow as a recipe to sweep around")
    import_.add_argument("workflow", metavar="WORKFLOW.json", help="as saved, or in API format")
    import_.add_argument("--node", metavar="ID", help="the last sampler, where there are several")
    import_.add_argument("--expert", action="append", metavar="FILE=NAME", help="which one it is")
    import_.add_argument("--loras", metavar="FOLDER", help="where the workflow's LoRAs are")
    import_.add_argument("--out", metavar="FILE", help="instead of conf/recipe/; - is stdout")
    import_.add_argument("--json", action="store_true", help="one JSON object on stdout")
    import_.set_defaults(verb=_import)


def _add_measuring(verbs: Verbs) -> None:
    """What measures videos made anywhere, and the metrics themselves."""
    score = verbs.add_parser("score", help="measure and rank any videos, beside their source image")
    score.add_argument("videos", nargs="+", metavar="VIDEO", help="files, or folders of them")
    score.add_argument("--source", help="the image that they were made from, if there is one")
    score.add_argument("--metrics", help="names with commas between them; all where not given")
    score.add_argument("--fps", type=float, help="for files that do not say it")
    score.add_argument("--face-box", metavar="X0,Y0,X1,Y1", help="the face in the source, px")
    score.add_argument("--face-model", metavar="FILE", help="YuNet's ONNX file, to find more faces")
    score.add_argument("--lpips-weights", metavar="FILE", help="AlexNet's weights for LPIPS")
    score.add_argument("--json", action="store_true", help="one JSON object on stdout")
    score.set_defaults(verb=_score)

    validate = verbs.add_parser("validate", help="put every metric to the test on known faults")
    validate.add_argument("--out", default="validation", help="the folder of its page")
    validate.add_argument("--size", type=int, nargs="+", default=[], help="px; 128 and 256")
    validate.add_argument("--json", action="store_true", help="one JSON object on stdout")
    validate.set_defaults(verb=_validate)


def _add_machine(verbs: Verbs) -> None:
    """What is about this machine."""
    cache = verbs.add_parser("cache", help="what the stage store holds, or --clear it")
    _add_overrides(cache)
    cache.add_argument("--clear", action="store_true", help="remove every entry")
    cache.add_argument("--json", action="store_true", help="one JSON object on stdout")
    cache.set_defaults(verb=_cache)

    doctor = verbs.add_parser("doctor", help="what works on this machine, and how to mend the rest")
    _add_overrides(doctor)
    doctor.add_argument("--json", action="store_true", help="one JSON object on stdout")
    doctor.set_defaults(verb=_doctor)

    calibrate = verbs.add_parser("calibrate", help="measure what step_cache.kind=mag goes by")
    _add_overrides(calibrate)
    calibrate.add_argument("--json", action="store_true", help="one JSON object on stdout")
    calibrate.set_defaults(verb=_calibrate)

    bench = verbs.add_parser("bench", help="how fast the parts are, beside what they must match")
    bench.add_argument("names", nargs="*", metavar="WHAT", help="none: list what there is")
    bench.add_argument("--model", metavar="NAME", help="another than the benchmark's own")
    bench.add_argument("--size", nargs="+", default=[], metavar="WxHxT", help="512x512x17")
    bench.add_argument("--repeats", type=int, metavar="N", help="timed runs of each")
    bench.add_argument("--json", action="store_true", help="one JSON object on stdout")
    bench.set_defaults(verb=_bench)


def _add_overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="Hydra overrides; several values make or replace an axis (seed=0,1,2)",
    )


def _add_run_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=int, metavar="N", help="run at most N trials this time")
    parser.add_argument("--json", action="store_true", help="one JSON object as stdout's last line")


def _plan(options: argparse.Namespace) -> int:
    from wanexp.commands import plan_command

    return plan_command(options.name, options.overrides, as_json=options.json)


def _demo(options: argparse.Namespace) -> int:
    from wanexp.commands import demo_command

    _check_limit(options)
    return demo_command(options.overrides, limit=options.limit, as_json=options.json)


def _check_limit(options: argparse.Namespace) -> None:
    if options.limit is not None and options.limit < 1:
        raise ConfigError(f"--limit: expected at least 1, got {options.limit}")


def _sweep(options: argparse.Namespace) -> int:
    from wanexp.commands import sweep_command

    _check_limit(options)
    return sweep_command(options.name, options.overrides, limit=options.limit, as_json=options.json)


def _compare(options: argparse.Namespace) -> int:
    from wanexp.compare import compare_command

    return compare_command(
        options.name, options.overrides, metric=options.metric, as_json=options.json
    )


def _report(options: argparse.Namespace) -> int:
    from wanexp.report.command import report_command

    return report_command(
        options.name,
        options.overrides,
        out=options.out,
        single_file=options.single_file,
        show=options.open,
        as_json=options.json,
    )


def _diagnose(options: argparse.Namespace) -> int:
    from wanexp.diagnose import diagnose_command

    return diagnose_command(
        options.target, options.overrides, run=options.run, as_json=options.json
    )


def _export(options: argparse.Namespace) -> int:
    from wanexp.presets.exporting import Request, export_command
    from wanexp.presets.preset import Choice

    given = [text for text in (options.name, *options.overrides) if text]
    names = [text for text in given if "=" not in text]
    choice = Choice(
        best=options.best,
        arm=options.arm,
        digest=options.trial,
        metric=options.metric,
        case=options.case,
        seed=options.seed,
        model=options.model,
    )
    request = Request(target=options.to, out=options.out, files=_pairs("--file", options.file))
    overrides = [text for text in given if "=" in text]
    name = names[0] if names else None
    return export_command(name, overrides, choice, request, as_json=options.json)


def _import(options: argparse.Namespace) -> int:
    from wanexp.presets.importing import Source, import_command

    source = Source(
        file=options.workflow,
        node=options.node,
        experts=_pairs("--expert", options.expert),
        loras=options.loras,
    )
    return import_command(source, out=options.out, as_json=options.json)


def _pairs(option: str, texts: Sequence[str] | None) -> dict[str, str]:
    """What ``--option KEY=VALUE`` gave, as often as it was given; a key may hold a ``=`` too."""
    pairs = [text.rpartition("=") for text in texts or ()]
    for key, _, value in pairs:
        if not key or not value:
            raise ConfigError(f"{option}: expected two names with a = between them, got {value!r}")
    return {key: value for key, _, value in pairs}


def _sync(options: argparse.Namespace) -> int:
    from wanexp.commands import sync_command

    given = [*options.names, *options.overrides]
    return sync_command([t for t in given if "=" not in t], [t for t in given if "=" in t])


def _cache(options: argparse.Namespace) -> int:
    from wanexp.commands import cache_command

    return cache_command(options.overrides, empty=options.clear, as_json=options.json)


def _score(options: argparse.Namespace) -> int:
    from wanexp.scoring import Request, box_from, score_command

    request = Request(
        videos=options.videos,
        source=options.source,
        fps=options.fps,
        metrics=options.metrics.split(",") if options.metrics else None,
        face_box=box_from(options.face_box) if options.face_box else None,
        lpips_weights=options.lpips_weights,
        face_model=options.face_model,
    )
    return score_command(request, as_json=options.json)


def _validate(options: argparse.Namespace) -> int:
    from wanexp.validation.command import validate_command

    return validate_command(options.out, options.size, as_json=options.json)


def _rate(options: argparse.Namespace) -> int:
    from wanexp.rating.command import rate_command, results_command

    if options.results or options.json:
        return results_command(options.name, options.overrides, as_json=options.json)
    return rate_command(
        options.name,
        options.overrides,
        rater=options.rater,
        host=options.host,
        port=options.port,
        show=not options.no_open,
    )


def _ui(options: argparse.Namespace) -> int:
    from wanexp.commands import ui_command

    return ui_command(options.overrides, host=options.host, port=options.port)


def _doctor(options: argparse.Namespace) -> int:
    from wanexp.doctor import doctor_command

    return doctor_command(options.overrides, as_json=options.json)


def _calibrate(options: argparse.Namespace) -> int:
    from wanexp.calibrate import calibrate_command

    return calibrate_command(options.overrides, as_json=options.json)


def _bench(options: argparse.Namespace) -> int:
    from wanexp.bench.command import bench_command
    from wanexp.bench.row import Settings, size_from

    sizes = [size_from(text) for text in options.size]
    settings = Settings(sizes=sizes or None, repeats=options.repeats, model=options.model)
    return bench_command(options.names, settings, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
