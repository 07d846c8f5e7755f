"""The seam: what ``measure`` takes, refuses and gives, and when there is no number."""

import dataclasses
import math
import threading

import cv2
import numpy as np
import pytest

from tests.metrics.clips import Fault, clip, entries, gaps, number, shaking, swimming, why
from wanexp.metrics import DIRECTIONS, METRICS, NO_SOURCE, Measurement, measure
from wanexp.metrics.observation import Observation

FPS = 16.0
LPIPS = ("lpips_source", "lpips_temporal")
LOGO = (20.0, 30.0, 84.0, 90.0)


@pytest.fixture(scope="module")
def video():
    return clip("astronaut", count=6, at=(100, 10))


@pytest.fixture(scope="module")
def readings(video):
    return measure(video, video[0], FPS, regions={"logo": LOGO})


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_says_how_to_read_it(name):
    metric = METRICS[name]
    assert metric.name == name
    assert metric.direction in DIRECTIONS
    assert metric.version >= 1
    assert all((metric.unit, metric.source, metric.confuses))


def test_directions_and_units_are_the_promised_ones():
    assert {name: metric.direction for name, metric in METRICS.items()} == {
        "flicker": "lower",
        "jitter": "lower",
        "warp": "lower",
        "detail": "one",
        "detail_incoherence": "lower",
        "face_detail": "one",
        "motion": "higher",
        "motion_top5": "higher",
        "local_flicker": "lower",
        "background_warp": "lower",
        "overshoot": "lower",
        "noise": "lower",
        "saturation": "one",
        "ssim_source": "higher",
        "lpips_source": "lower",
        "lpips_temporal": "lower",
        "ewarp": "lower",
        "vbench_temporal_flickering": "higher",
    }
    assert [METRICS[n].unit for n in ("flicker", "jitter", "warp", "detail")] == [
        "%",
        "px",
        "px",
        "ratio",
    ]


def test_all_metrics_and_regions_are_measured_when_none_are_named(readings):
    assert list(readings) == [*METRICS, "detail:logo"]
    defined = {name: one for name, one in readings.items() if name not in LPIPS}
    assert all(isinstance(one.value, float) and one.reason is None for one in defined.values())


def test_a_series_has_one_entry_per_frame_and_its_gaps_where_promised(video, readings):
    gone = {name: gaps(one) for name, one in readings.items() if name not in LPIPS}
    count = len(video)
    middle = [True, *[False] * (count - 2), True]
    for name in ("flicker", "local_flicker", "warp", "background_warp"):
        assert gone[name] == middle
    assert gone["jitter"] == [True, True, *[False] * (count - 3), True]
    for name in ("motion", "motion_top5", "vbench_temporal_flickering"):
        assert gone[name] == [True, *[False] * (count - 1)]
    assert gone["ewarp"] == [*[False] * (count - 1), True]
    for name in (
        "detail",
        "detail_incoherence",
        "face_detail",
        "detail:logo",
        "overshoot",
        "noise",
        "saturation",
        "ssim_source",
    ):
        assert gone[name] == [False] * count


@pytest.mark.parametrize("name", [n for n in METRICS if n not in ("jitter", *LPIPS)])
def test_a_value_is_the_mean_or_root_mean_square_of_its_series(readings, name):
    series = entries(readings[name])
    squared = name in ("flicker", "local_flicker")
    expected = math.sqrt(np.square(series).mean()) if squared else series.mean()
    assert readings[name].value == pytest.approx(expected, rel=1e-9)


def test_jitter_is_at_most_the_root_mean_square_of_its_series(readings):
    series = entries(readings["jitter"])
    assert readings["jitter"].value <= math.sqrt(np.square(series).mean()) + 1e-12


def test_measuring_twice_or_one_by_one_gives_the_same_bits(video, readings):
    again = measure(video, video[0], FPS, regions={"logo": LOGO})
    assert again == readings
    for name in ("jitter", "detail_incoherence", "face_detail", "detail:logo"):
        alone = measure(video, video[0], FPS, [name], regions={"logo": LOGO})
        assert alone == {name: readings[name]}


def test_the_number_of_threads_changes_nothing(video, readings):
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        assert measure(video, video[0], FPS, regions={"logo": LOGO}) == readings
        cv2.setNumThreads(4)
        assert measure(video, video[0], FPS, regions={"logo": LOGO}) == readings
    finally:
        cv2.setNumThreads(threads)


@pytest.mark.parametrize("count", [1, 2, 6])
@pytest.mark.parametrize("side", [8, 160])
def test_where_cores_are_left_the_source_is_looked_for_beside_and_nothing_else_changes(
    monkeypatch, count, side
):
    frames = clip("astronaut", count=count, at=(100, 10), size=side)
    sought = []
    sightings = Observation.sightings.func  # type: ignore[attr-defined]

    def told(observation: Observation) -> object:
        sought.append(threading.current_thread() is threading.main_thread())
        return sightings(observation)

    monkeypatch.setattr(Observation.sightings, "func", told)
    alone = {}
    for cores in (1, 8):
        monkeypatch.setattr("wanexp.metrics.threads", lambda cores=cores: cores)
        alone[cores] = measure(frames, frames[0], FPS, regions={"logo": (0, 0, 8, 8)})
    assert alone[1] == alone[8]
    assert list(alone[8]) == [*METRICS, "detail:logo"]
    if side == 160:
        assert sought == [True, count == 1]  # one frame is no work to share


def test_measuring_leaves_its_input_alone(video):
    frames, source = video.copy(), video[0].copy()
    frames.flags.writeable = source.flags.writeable = False
    measure(frames, source, FPS)
    assert np.array_equal(frames, video)


def test_frames_may_be_a_view_with_strides(video):
    padded = np.zeros((*video.shape[:3], 4), np.uint8)
    padded[..., :3] = video
    assert measure(padded[..., :3], video[0], FPS) == measure(video, video[0], FPS)


def test_unknown_names_are_key_errors_with_the_nearest(video):
    with pytest.raises(KeyError, match="did you mean 'flicker'"):
        measure(video, video[0], FPS, ["flikcer"])
    with pytest.raises(KeyError, match="no metric named 'detail:'"):
        measure(video, video[0], FPS, ["detail:"])


def test_a_region_that_the_case_lacks_is_undefined_and_no_error(video):
    found = measure(video, video[0], FPS, ["detail:logos", "flicker"], regions={"logo": LOGO})
    assert why(found["detail:logos"]) == (
        "the case has no region named 'logos'; did you mean 'logo'?"
    )
    assert found["flicker"].value is not None
    alone = measure(video, video[0], FPS, ["detail:logo"])["detail:logo"]
    assert why(alone) == "the case has no region named 'logo'"


def test_without_a_source_all_that_needs_none_reads_the_same_bits(video, readings):
    found = measure(video, None, FPS)
    for name, metric in METRICS.items():
        if metric.against_source:
            assert why(found[name]) == NO_SOURCE
        elif name not in LPIPS:
            assert found[name] == readings[name]
    assert why(measure(video, None, FPS, ["detail:logo"])["detail:logo"]) == NO_SOURCE


@pytest.mark.parametrize("parts", [{"face_box": LOGO}, {"regions": {"logo": LOGO}}])
def test_parts_of_a_source_that_is_not_there_are_refused(video, parts):
    with pytest.raises(ValueError, match="are parts of the source, and there is none"):
        measure(video, None, FPS, **parts)


def test_only_what_is_named_is_measured_in_that_order(video):
    assert list(measure(video, video[0], FPS, ["motion", "flicker"])) == ["motion", "flicker"]
    assert measure(video, video[0], FPS, []) == {}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"frames": np.zeros((4, 32, 32, 3))}, "frames must be uint8, got float64"),
        ({"frames": np.zeros((32, 32, 3), np.uint8)}, r"frames must have the shape \(T, H, W, 3\)"),
        ({"frames": np.zeros((4, 32, 32, 4), np.uint8)}, r"shape \(T, H, W, 3\), got"),
        ({"frames": np.zeros((0, 32, 32, 3), np.uint8)}, "frames must not be empty"),
        ({"frames": [[1]]}, "frames must be a numpy array, got list"),
        ({"source": np.zeros((32, 32), np.uint8)}, r"source must have the shape \(H, W, 3\)"),
        ({"source": np.zeros((32, 32, 3), np.float32)}, "source must be uint8, got float32"),
        ({"source": np.zeros((0, 32, 3), np.uint8)}, "source must not be empty"),
        ({"fps": 0}, "fps must be a positive number, got 0"),
        ({"fps": -16.0}, "fps must be a positive number"),
        ({"fps": math.nan}, "fps must be a positive number"),
        ({"names": "flicker"}, "names must be a list of names"),
        ({"face_box": (20, 0, 10, 10)}, "face_box must be .* inside the source of 32x32 px"),
        ({"face_box": (0, 0, 33, 10)}, "face_box must be"),
        ({"face_box": (-1, 0, 10, 10)}, "face_box must be"),
        ({"face_box": (0, 0, math.nan, 10)}, "face_box must be"),
        ({"face_box": (0, 0, 10)}, "got 3 numbers"),
        ({"regions": {"logo": (0, 9, 10, 9)}}, "region 'logo' must be"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(change, complaint):
    good = {
        "frames": np.zeros((4, 32, 32, 3), np.uint8),
        "source": np.zeros((32, 32, 3), np.uint8),
        "fps": FPS,
    }
    with pytest.raises(ValueError, match=complaint) as caught:
        measure(**good | change)
    assert "\n" not in str(caught.value)


def test_a_box_that_rounding_pushes_over_the_edge_is_inside():
    frames = np.zeros((1, 32, 32, 3), np.uint8)
    measure(frames, frames[0], FPS, ["detail"], regions={"all": (0.0, -1e-9, 32 + 1e-9, 32)})


# What is not defined.

TEMPORAL = {"flicker": 3, "jitter": 4, "warp": 3, "motion": 2, "motion_top5": 2}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_short_videos_have_the_numbers_that_their_length_allows(video, count):
    found = measure(video[:count], video[0], FPS)
    for name, needed in TEMPORAL.items():
        assert (found[name].value is None) == (count < needed)
        if count < needed:
            assert found[
                name
            ].reason == f"{name.removesuffix('_top5')} needs at least {needed} " + (
                f"frames, got {count}"
            )
    assert found["detail"].value == pytest.approx(1.0, abs=0.02)
    for name in ("overshoot", "noise", "saturation", "ssim_source"):
        assert found[name].value is not None


def test_a_frozen_video_is_measured_to_be_free_of_faults_and_of_motion(video):
    found = measure(np.repeat(video[:1], 6, 0), video[0], FPS, regions={"logo": LOGO})
    for name in (*TEMPORAL, "detail_incoherence"):
        assert found[name].value == 0.0
    for name in ("detail", "face_detail", "detail:logo"):
        assert found[name].value == 1.0


@pytest.mark.parametrize("level", [0, 128, 255])
def test_one_colour_standing_still_has_no_faults_and_no_detail(level):
    found = measure(np.full((6, 48, 64, 3), level, np.uint8), np.zeros((48, 64, 3), np.uint8), FPS)
    assert all(found[name].value == 0.0 for name in TEMPORAL)
    for name in ("detail", "detail_incoherence"):
        assert found[name].value is None
        assert "no fine detail" in why(found[name])
    assert "no face in the source image" in why(found["face_detail"])


def test_a_colour_that_flickers_has_flicker_but_no_motion_to_speak_of():
    levels = np.array([100, 110, 100, 110, 100, 105, 100, 110])
    frames = np.broadcast_to(levels[:, None, None, None], (8, 64, 64, 3)).astype(np.uint8)
    found = measure(frames, frames[0], FPS)
    by_hand = 100 * math.sqrt(np.square(np.diff(np.log(levels), 2)).mean() / 6)
    assert found["flicker"].value == pytest.approx(by_hand, rel=1e-5)
    for name in ("jitter", "warp", "motion", "motion_top5"):
        assert found[name].value is None
        assert "no texture" in why(found[name])


def test_a_white_or_black_picture_that_changes_has_no_flicker_to_measure():
    frames = np.full((5, 64, 64, 3), 255, np.uint8)
    frames[::2] -= 1
    assert "black nor clipped" in why(measure(frames, frames[0], FPS, ["flicker"])["flicker"])
    assert "black nor clipped" in why(measure(255 - frames, frames[0], FPS, ["flicker"])["flicker"])


def test_going_black_is_no_flicker_that_can_be_measured():
    frames = np.zeros((6, 64, 64, 3), np.uint8)
    frames[::2] = 120
    assert "black nor clipped" in why(measure(frames, frames[0], FPS, ["flicker"])["flicker"])


def test_faint_grain_on_one_colour_is_no_texture_to_follow():
    grain = np.random.default_rng(0).integers(-1, 2, (96, 96, 1))
    frames = np.stack([np.roll(120 + grain, t, axis=1) for t in range(5)]).repeat(3, -1)
    found = measure(frames.astype(np.uint8), frames[0].astype(np.uint8), FPS, list(TEMPORAL))
    for name in ("jitter", "warp", "motion"):
        assert "no texture to follow" in why(found[name])


def test_pictures_that_have_nothing_to_do_with_each_other_have_no_numbers():
    frames = np.random.default_rng(0).integers(0, 256, (6, 96, 96, 3), dtype=np.uint8)
    found = measure(frames, frames[0], FPS)
    for name in ("jitter", "warp", "motion", "motion_top5"):
        assert found[name].value is None
        assert "neighbouring frames do not match" in why(found[name])
    assert found["flicker"].value is None
    assert (entries(found["detail"])[1:] < 0.2).all()


def test_one_cut_leaves_the_rest_of_the_video_measurable():
    frames = np.concatenate([clip("coffee", count=6), clip("motorcycle", count=6)])
    found = measure(frames, frames[0], FPS, list(TEMPORAL))
    assert gaps(found["motion"])[6]
    for name, one in found.items():
        assert one.value is not None, name
        assert 0.6 < one.extras["defined_frac"] < 1.0
    assert number(found["jitter"]) < 0.05
    assert number(found["flicker"]) < 0.05


def test_a_pan_that_leaves_the_source_behind_has_no_detail_but_all_the_rest():
    frames = clip("motorcycle", pan=(14, 0), size=96, at=(4, 60))
    found = measure(frames, frames[0], FPS)
    assert found["detail"].value is None
    assert "too little of it is in the frame (measurable: 4 of 17)" in why(found["detail"])
    assert entries(found["detail"])[0] == 1.0
    assert gaps(found["detail"])[-1]
    assert found["motion"].value == pytest.approx(100 * FPS * 14 / 96, rel=0.01)
    assert all(found[name].value is not None for name in TEMPORAL)


def test_another_picture_as_the_source_has_no_detail(video):
    found = measure(video, clip("chelsea", count=1)[0], FPS, ["detail", "flicker"])
    assert found["detail"].value is None
    assert found["flicker"].value is not None


@pytest.mark.parametrize(
    "size", [(1, 1), (8, 8), (8, 300), (14, 64), (16, 16), (20, 128), (16, 640)]
)
def test_frames_of_any_size_have_numbers_or_reasons(video, size):
    height, width = size
    frames = np.stack([cv2.resize(f, (width, height), interpolation=cv2.INTER_AREA) for f in video])
    for one in measure(frames, video[0], FPS, regions={"logo": LOGO}).values():
        assert (one.value is None) != (one.reason is None)
        assert one.value is None or math.isfinite(one.value)
    if min(size) < 16:
        assert "too small" in why(measure(frames, video[0], FPS, ["motion"])["motion"])


def test_grey_frames_read_as_coloured_ones(video, readings):
    grey = np.repeat(np.rint(video @ [0.2126, 0.7152, 0.0722])[..., None], 3, -1).astype(np.uint8)
    found = measure(grey, grey[0], FPS, ["jitter", "detail", "motion"])
    for name, one in found.items():
        assert one.value == pytest.approx(readings[name].value, abs=0.01)


def test_measurements_are_frozen(readings):
    with pytest.raises(dataclasses.FrozenInstanceError):
        readings["flicker"].value = 0.0
    assert isinstance(readings["flicker"], Measurement)


# The source's size and the working grid.


def test_a_larger_source_and_its_boxes_are_resized_to_the_frames(video, readings):
    large = cv2.resize(video[0], (512, 512), interpolation=cv2.INTER_CUBIC)
    boxes = {"logo": (80.0, 120.0, 336.0, 360.0)}
    found = measure(video, large, FPS, face_box=(140, 120, 348, 328), regions=boxes)
    for name in ("detail", "face_detail", "detail:logo"):
        assert found[name].value == pytest.approx(readings[name].value, abs=0.05)
    assert found["face_detail"].extras["face_px"] == 52
    searched = measure(video, large, FPS, ["face_detail"])["face_detail"]
    assert searched.extras["face_px"] == pytest.approx(50, abs=6)


def test_frames_larger_than_the_working_grid_read_the_same_in_their_own_pixels():
    names = ["jitter", "warp", "motion", "motion_top5", "detail"]
    fault: Fault = {"shake": 0.5 * shaking(0, 5), "swim": 0.5 * swimming(0, 5, size=288)}
    frames = clip("astronaut", count=5, size=288, fine=1, at=(60, 60), **fault)
    small = measure(frames, frames[0], FPS, names)
    double = np.stack([cv2.resize(f, (576, 576), interpolation=cv2.INTER_CUBIC) for f in frames])
    large = measure(double, double[0], FPS, names)
    for name in ("motion", "motion_top5", "detail"):
        assert large[name].value == pytest.approx(number(small[name]), rel=0.03)
    for name in ("jitter", "warp"):
        assert large[name].value == pytest.approx(2 * number(small[name]), rel=0.05)


def test_a_larger_video_asks_for_no_larger_flow():
    from wanexp.metrics.observation import Observation

    def grid(height, width):
        frames = np.zeros((1, height, width, 3), np.uint8)
        return Observation(
            frames=frames,
            source=frames[0],
            portrait=frames[0],
            fps=FPS,
            face_box=None,
            regions={},
        ).grid

    assert grid(512, 512) == (256, 256)
    assert grid(480, 832) == (194, 337)
    assert grid(2160, 3840) == (192, 341)
    assert grid(128, 96) == (128, 96)
    assert grid(40, 4000) == (26, 2560)
    assert grid(20, 20000) == (16, 16000)
