"""A record says everything, loads for ever, and is never half there."""

from __future__ import annotations

import dataclasses
import gc
import json
import time
from pathlib import Path

import numpy as np
import pytest

from wanexp import record as record_module
from wanexp.record import (
    SCHEMA,
    RecordError,
    StudyPaths,
    TrialPaths,
    TrialRecord,
    read_record,
    read_study,
    record_text,
)

FIXTURES = Path(__file__).parent / "records"
DIGEST = "0123456789abcdef"


def make_record(digest: str = DIGEST, **fields: object) -> TrialRecord:
    plain: dict[str, object] = {
        "digest": digest,
        "study": "ab",
        "arm": "baseline",
        "trial": {"recipe": {"stages": {"refine": {}, "establish": {}}}, "seed": 3},
        "plan": {"model_calls": 2, "stages": {"refine": {"sigmas": [1.0, 0.5, 0.0]}}},
        "started": "2026-01-31T12:00:00.000Z",
        "finished": "2026-01-31T12:00:09.000Z",
        "state": "completed",
    }
    return TrialRecord(**{**plain, **fields})  # type: ignore[arg-type]


def put(study: StudyPaths, text: str, digest: str) -> TrialPaths:
    paths = study.trial(digest)
    paths.root.mkdir(parents=True)
    paths.record.write_text(text, encoding="utf-8")
    return paths


def test_every_path_is_inside_the_trials_folder():
    paths = StudyPaths(Path("studies/ab")).trial(DIGEST)
    assert paths.record == Path(f"studies/ab/trials/{DIGEST}/record.json")
    assert paths.study.study == Path("studies/ab/study.json")
    assert paths.study.name == "ab"
    assert paths.digest == DIGEST
    files = [paths.video, paths.poster, paths.contact_sheet, paths.source, paths.latents]
    files += [paths.stage_video("refine"), paths.stage_poster("refine"), paths.record]
    assert len(set(files)) == 8
    assert all(paths.root in file.parents for file in files)


@pytest.mark.parametrize("fixture", sorted(FIXTURES.glob("v*.json")), ids=lambda p: p.stem)
def test_every_schema_ever_written_loads(fixture):
    record = read_record(fixture)
    assert record.digest == "5f0c1d2e3a4b5968"
    assert record.state == "completed"
    assert list(record.plan["stages"]) == ["establish", "refine"]  # type: ignore[call-overload]
    assert record.measurements["flicker"]["value"] == 0.8125
    assert record.measurements["face_detail"]["value"] is None
    assert record.measurements["face_detail"]["reason"] == "no face found in the source"
    assert record.series["flicker"] == [None, 0.75, 0.875, 0.8125]
    assert record.peak_memory["cuda"] is None


def test_before_overlap_and_the_ladder_there_was_neither():
    for name in ("v1", "v2"):
        old = read_record(FIXTURES / f"{name}.json")
        assert (old.overlapped, old.changes, old.throttled, old.phases) == (False, [], {}, {})


def test_before_the_stage_store_every_stage_was_computed_in_its_own_trial():
    old = read_record(FIXTURES / "v1.json")
    assert old.model_calls_executed == old.model_calls == 12
    assert [stage["stored"] for stage in old.stages.values()] == [False, False]


def test_there_is_a_fixture_of_every_schema():
    assert sorted(p.stem for p in FIXTURES.glob("*.json")) == [
        f"v{n}" for n in range(1, SCHEMA + 1)
    ]


def test_a_record_comes_back_as_it_was_with_its_stages_in_order(tmp_path):
    record = make_record(
        measurements={"flicker": {"value": 0.1 + 0.2, "reason": None, "direction": "lower"}},
        series={"flicker": [None, 1e-9, 3.0]},
        trial={"case": {"prompt": "色调艳丽 «ça» \n"}, "recipe": {"stages": {"z": 1, "a": 2}}},
        model_calls=2**53,
    )
    paths = put(StudyPaths(tmp_path), record_text(record), DIGEST)
    back = read_record(paths.record)
    assert back == record
    assert list(back.trial["recipe"]["stages"]) == ["z", "a"]  # type: ignore[index]


def test_lists_of_numbers_stay_on_one_line_and_text_stays_readable():
    text = record_text(make_record(series={"flicker": [1.0, 2.0]}, arm="größer"))
    assert '"flicker": [1.0, 2.0]' in text
    assert "größer" in text
    assert json.loads(text)["schema"] == SCHEMA


def test_fields_that_hold_no_plain_value_are_named():
    for value, message in [
        (float("nan"), r"record\.timings\.sample: nan cannot be recorded"),
        (float("inf"), r"record\.timings\.sample: inf"),
        (np.float32(1), r"record\.timings\.sample: a float32 is not a plain value"),
        (Path("x"), r"record\.timings\.sample: a PosixPath"),
    ]:
        with pytest.raises(ValueError, match=message):
            record_text(make_record(timings={"sample": value}))
    with pytest.raises(ValueError, match=r"series\.flicker\[1\]: nan"):
        record_text(make_record(series={"flicker": [1.0, float("nan")]}))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"state": "done"}, "expected one of running, completed, changed, failed, got 'done'"),
        ({"state": "failed"}, "a failed record needs one"),
        ({"error": {"type": "E"}}, "a completed record has no one|a completed record has none"),
        ({"measurements": {"m": {"value": None, "reason": None}}}, "measurements.m: expected"),
        ({"measurements": {"m": {"value": 1.0, "reason": "no"}}}, "measurements.m: expected"),
    ],
)
def test_a_state_that_contradicts_itself_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        make_record(**fields)


DAMAGE = {
    "cut": record_text(make_record())[:200],
    "empty": "",
    "no object": "[1, 2]",
    "no schema": "{}",
    "nan": record_text(make_record(timings={"s": 1.5})).replace("1.5", "NaN"),
    "missing field": record_text(make_record()).replace('"arm"', '"arms"'),
    "impossible state": record_text(make_record()).replace('"completed"', '"failed"'),
    "measurements of another kind": record_text(make_record()).replace(
        '"measurements": {}', '"measurements": {"flicker": 3}'
    ),
}


@pytest.mark.parametrize("text", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_record_is_an_error_that_names_the_file(tmp_path, text):
    paths = put(StudyPaths(tmp_path), text, DIGEST)
    with pytest.raises(RecordError, match=f"{DIGEST}/record.json: damaged") as caught:
        read_record(paths.record)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_a_damaged_record(tmp_path):
    paths = put(StudyPaths(tmp_path), "", DIGEST)
    paths.record.write_bytes(b'{"schema": 1, "arm": "\xff\xfe"}')
    with pytest.raises(RecordError, match="damaged"):
        read_record(paths.record)


def test_a_record_of_a_newer_wanexp_says_so(tmp_path):
    text = record_text(make_record()).replace(f'"schema": {SCHEMA}', '"schema": 99')
    paths = put(StudyPaths(tmp_path), text, DIGEST)
    with pytest.raises(RecordError, match=r"has schema 99, .* update wanexp"):
        read_record(paths.record)


def test_an_older_record_climbs_every_upgrade(tmp_path, monkeypatch):
    def rename(tree: dict[str, object]) -> dict[str, object]:
        return {("arm" if key == "variant" else key): value for key, value in tree.items()}

    monkeypatch.setattr(record_module, "SCHEMA", SCHEMA + 2)
    monkeypatch.setattr(record_module, "UPGRADES", {SCHEMA: dict, SCHEMA + 1: rename})
    text = record_text(make_record()).replace(f'"schema": {SCHEMA + 2}', f'"schema": {SCHEMA}')
    paths = put(StudyPaths(tmp_path), text.replace('"arm"', '"variant"'), DIGEST)
    assert read_record(paths.record) == make_record()


def test_one_bad_file_does_not_hide_the_others(tmp_path):
    study = StudyPaths(tmp_path / "ab")
    for digest in ("aaaa", "cccc"):
        put(study, record_text(make_record(digest)), digest)
    put(study, "{", "bbbb")
    put(study, record_text(make_record("aaaa")), "dddd")
    (study.trials / "eeee").mkdir()
    (study.trials / "stray.txt").write_text("no trial")
    put(study, record_text(make_record("aaaa")), ".partial-aaaa~h-1-1~00")
    records, bad = read_study(study)
    assert [record.digest for record in records] == ["aaaa", "cccc"]
    assert len(bad) == 3
    assert "bbbb/record.json: damaged" in bad[0]
    assert "dddd/record.json: the record of another trial, aaaa" in bad[1]
    assert "eeee/record.json" in bad[2]


def test_a_study_that_has_not_begun_has_no_records(tmp_path):
    assert read_study(StudyPaths(tmp_path / "none")) == ([], [])


def test_reading_leaves_the_garbage_collector_as_it_was(tmp_path):
    for was_on in (True, False):
        (gc.enable if was_on else gc.disable)()
        read_study(StudyPaths(tmp_path))
        assert gc.isenabled() is was_on
    gc.enable()


def big_record(digest: str) -> TrialRecord:
    """As large as a trial of two stages, 81 frames and every metric makes it."""
    measurement = {"value": 0.123456789, "reason": None, "direction": "lower", "unit": "%"}
    series = {f"metric{i}": [0.123456789 + j for j in range(80)] for i in range(8)}
    return dataclasses.replace(
        read_record(FIXTURES / "v1.json"),
        digest=digest,
        measurements={f"metric{i}": {**measurement, "version": 1} for i in range(20)},
        series=series,
        system={key: [float(i) for i in range(120)] for key in ("seconds", "cpu_percent", "rss")},
    )


@pytest.mark.slow
def test_ten_thousand_records_cost_little_more_than_their_json(tmp_path):
    study = StudyPaths(tmp_path)
    text = record_text(big_record(DIGEST))
    for i in range(10_000):
        put(study, text.replace(DIGEST, f"{i:016x}"), f"{i:016x}")
    read_study(study)  # from here on every file is in the system's memory, for both
    began = time.process_time()  # of this process: other programs may be busy
    plainly = [json.loads(trial.record.read_text(encoding="utf-8")) for trial in study.found()]
    between = time.process_time()
    records, bad = read_study(study)
    ratio = (time.process_time() - between) / (between - began)
    print(f"10,000 records in {ratio:.2f} times what reading their JSON takes")
    assert (len(records), len(plainly), bad) == (10_000, 10_000, [])
    assert ratio < 3
