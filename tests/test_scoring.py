"""`wanexp score`: any videos beside their source, ranked metric by metric."""

import json
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from tests.metrics.clips import clip, flickering
from wanexp.cli import main
from wanexp.scoring import Request, box_from, expanded, ranks, scores, shown_names
from wanexp.strict import ConfigError
from wanexp.video import write_image, write_video

QUICK = ["flicker", "detail"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three videos of one source: a good one, a blurred one that flickers, and a still."""
    root = tmp_path_factory.mktemp("videos")
    good = clip("astronaut", count=6)
    write_video(root / "good.mp4", good, 16)
    bad = clip("astronaut", count=6, blur=1.2, gain=0.05 * flickering(0, 6))
    write_video(root / "bad.mp4", bad, 16)
    write_video(root / "still.mp4", np.repeat(good[:1], 6, 0), 16)
    write_image(root / "source.png", good[0])
    return root


@pytest.fixture(scope="module")
def found(folder):
    request = Request(videos=[str(folder)], source=str(folder / "source.png"), metrics=QUICK)
    return scores(request).found


def named(places):
    return {path.rsplit("/", maxsplit=1)[1]: place for path, place in places.items()}


def test_a_folder_is_its_videos(folder):
    assert [path.name for path in expanded(folder)] == ["bad.mp4", "good.mp4", "still.mp4"]
    assert expanded(folder / "good.mp4") == [folder / "good.mp4"]


def test_videos_are_ranked_by_each_metric_in_its_own_direction(found):
    for metric in QUICK:
        assert named(ranks(metric, found)) == {"good.mp4": 1, "bad.mp4": 2}


def test_a_still_has_no_place_though_only_some_metrics_were_asked_for(found):
    still = next(one for path, one in found.items() if path.endswith("still.mp4"))
    assert still["motion_top5"].extras["static"] == 1.0
    assert all("still.mp4" not in named(ranks(metric, found)) for metric in QUICK)


def test_motion_and_the_literature_rank_nothing(found):
    for metric in ("motion", "motion_top5", "ewarp", "vbench_temporal_flickering"):
        assert ranks(metric, found) == {}


def test_the_table_names_the_places_the_still_and_what_encoding_does(folder, capsys):
    arguments = ["score", str(folder), "--source", str(folder / "source.png")]
    assert main([*arguments, "--metrics", "flicker,detail,face_detail"]) == 0
    shown = capsys.readouterr().out
    assert "(1)" in shown and "(2)" in shown
    assert "still.mp4 stands still and is not ranked" in shown
    assert "encoded" in shown


def test_json_is_one_object_alone_on_standard_output(folder, capsys):
    video = str(folder / "good.mp4")
    arguments = ["score", video, "--source", str(folder / "source.png"), "--json"]
    assert main([*arguments, "--metrics", "detail,face_detail"]) == 0
    tree = json.loads(capsys.readouterr().out)
    metrics = tree["videos"][video]["metrics"]
    assert metrics["detail"]["rank"] == 1
    assert metrics["detail"]["direction"] == "one"
    assert (metrics["face_detail"]["value"] is None) == (metrics["face_detail"]["rank"] is None)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"source": "nowhere.png"}, "--source: 'nowhere.png' is not an image"),
        ({"videos": ["nowhere.mp4"]}, "no video file or folder 'nowhere.mp4'"),
        ({"metrics": ["flikcer"]}, "did you mean 'flicker'"),
        ({"face_box": (0.0, 0.0, 1e6, 5.0)}, "face_box must be"),
        ({"face_model": "nowhere.onnx"}, "--face-model: 'nowhere.onnx' holds no YuNet"),
        ({"videos": [__file__]}, "is not a video that can be read whole"),
    ],
)
def test_what_cannot_be_scored_is_one_sentence(folder, change, complaint):
    good = {"videos": [str(folder / "good.mp4")], "source": str(folder / "source.png")}
    with pytest.raises(ConfigError, match=complaint) as caught:
        scores(Request(**good | change))
    assert "\n" not in str(caught.value)


def test_a_face_box_is_four_numbers():
    assert box_from("1,2.5,30,40") == (1.0, 2.5, 30.0, 40.0)
    with pytest.raises(ConfigError, match="expected four numbers X0,Y0,X1,Y1, got '1,2'"):
        box_from("1,2")


# Files of other programs


def encoded(path, frames, codec, pix_fmt, times=None):
    """A file as another program would write it; ``times`` are in sixteenths of a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=16)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = (times or range(99))[number], Fraction(1, 16)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def animated(path, frames):
    first, *rest = (Image.fromarray(frame) for frame in frames)
    first.save(path, save_all=True, append_images=rest, duration=62, loop=0)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("ten_bits.mp4", "libx265", "yuv420p10le"),
        ("alpha.webm", "libvpx-vp9", "yuva420p"),
        ("four_four_four.mkv", "ffv1", "yuv444p"),
        ("old.avi", "mjpeg", "yuvj420p"),
        ("moving.gif", None, None),
        ("moving.webp", None, None),
        ("moving.apng", None, None),
    ],
)
def test_other_programs_videos_are_scored(name, codec, pix_fmt, tmp_path):
    frames = clip("coffee", count=5, pan=(2.0, 1.0))
    if codec is None:
        frames = frames[:, :97, :95]  # odd sides, which yuv420p has not
        animated(tmp_path / name, frames)
    else:
        encoded(tmp_path / name, frames, codec, pix_fmt)
    write_image(tmp_path / "source.png", frames[0])
    request = Request(
        videos=[str(tmp_path / name)],
        source=str(tmp_path / "source.png"),
        metrics=["motion", "noise"],
    )
    (scored,) = scores(request).found.values()
    speed = 100 * 16 * 5**0.5 / min(frames.shape[1:3])
    assert scored["motion"].value == pytest.approx(speed, rel=0.05)


def test_an_uneven_rate_is_its_mean_and_is_named(tmp_path, capsys):
    frames = clip("coffee", count=5)
    encoded(tmp_path / "v.mp4", frames, "libx264", "yuv420p", times=[0, 1, 2, 6, 7])
    write_image(tmp_path / "source.png", frames[0])
    video = str(tmp_path / "v.mp4")
    source = str(tmp_path / "source.png")
    request = Request(videos=[video], source=source, metrics=["motion"])
    assert scores(request).uneven[video] == pytest.approx((1 / 16, 4 / 16), abs=0.001)
    assert main(["score", video, "--source", source, "--metrics", "motion"]) == 0
    assert "has frames 0.062" in capsys.readouterr().out


def test_videos_of_words_are_scored_without_a_source(tmp_path, capsys):
    encoded(tmp_path / "v.mp4", clip("coffee", count=5), "libx264", "yuv420p")
    video = str(tmp_path / "v.mp4")
    assert main(["score", video, "--metrics", "flicker,noise"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "flicker % ↓" in said
    assert "no noise: there is no source image to compare with" in said
    assert main(["score", video, "--metrics", "flicker,noise", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["source"] is None
    assert main(["score", video, "--face-box", "0,0,9,9"]) == 2
    assert "--face-box: is in the source image, and there is none" in capsys.readouterr().err


def test_one_frame_and_tiny_frames_have_reasons_and_no_exception(tmp_path, capsys):
    frames = clip("coffee", count=2)
    write_video(tmp_path / "one.mp4", frames[:1], 16)
    write_video(tmp_path / "tiny.mp4", frames[:, :12, :14], 16)
    write_image(tmp_path / "source.png", frames[0])
    assert main(["score", str(tmp_path), "--source", str(tmp_path / "source.png"), "--json"]) == 0
    for one in json.loads(capsys.readouterr().out)["videos"].values():
        for measured in one["metrics"].values():
            assert (measured["value"] is None) != (measured["reason"] is None)


def test_a_broken_file_among_others_costs_its_own_score_alone(folder, tmp_path, capsys):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    good, source = str(folder / "good.mp4"), str(folder / "source.png")
    arguments = ["score", str(broken), good, "--source", source, "--metrics", "noise"]
    assert main([*arguments, "--json"]) == 1
    tree = json.loads(capsys.readouterr().out)
    assert list(tree["videos"]) == [good]
    assert "is not a video that can be read whole" in tree["unread"][str(broken)]
    assert main(arguments) == 1
    assert "unread" in capsys.readouterr().out


def test_files_of_one_name_are_told_apart():
    assert shown_names(["a/v.mp4", "b/v.mp4", "w.mp4"]) == {
        "a/v.mp4": "a/v.mp4",
        "b/v.mp4": "b/v.mp4",
        "w.mp4": "w.mp4",
    }
