"""What the verbs say of a study."""

import json

import pytest

from tests.analysis.studies import measured, record, write_study
from wanexp.commands import plan_command, study_summary
from wanexp.strict import ConfigError


def test_a_baseline_that_is_no_arm_is_refused_before_anything_runs():
    with pytest.raises(ConfigError) as error:
        plan_command("first_look", ["protocol.baseline=singel"], as_json=True)
    assert str(error.value).startswith("protocol.baseline: no arm named 'singel'; did you mean 's")


def study(folder, arms):
    rows, records = [], []
    for case in range(4):
        for arm, flicker in arms.items():
            rows.append((arm, f"case{case}", 0, f"{arm}{case}"))
            values = {
                "flicker": measured(flicker + 0.01 * case),
                "motion_top5": measured(20.0, "higher"),
            }
            records.append(record(f"{arm}{case}", measurements=values))
    paths = write_study(folder, rows, records)
    tree = json.loads(paths.study.read_text()) | {"protocol": {"name": "p", "primary": "flicker"}}
    paths.study.write_text(json.dumps(tree))
    return paths


def test_a_studys_summary_ends_with_its_verdicts(tmp_path):
    summary = study_summary(study(tmp_path, {"one": 1.0, "two": 0.5}))
    assert summary is not None
    assert "## Verdicts by flicker, against one" in summary.text
    assert "- two is better than one: flicker is" in summary.text


def test_a_study_of_one_arm_has_no_verdicts(tmp_path):
    summary = study_summary(study(tmp_path, {"one": 1.0}))
    assert summary is not None and "Verdicts" not in summary.text
