"""`wanexp score`: any videos beside their source, ranked metric by metric."""

import json

import numpy as np
import pytest

from tests.metrics.clips import clip, flickering
from wanexp.cli import main
from wanexp.scoring import Request, box_from, expanded, ranks, scores
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
    return scores(request)


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
