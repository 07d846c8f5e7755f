"""The page of a guide's claims: every claim has an answer, and what people wrote stays."""

import json

import pytest

from analysis.guide_claims import (
    BEGIN,
    END,
    EQUAL_COST,
    HEADLINES,
    READINGS,
    SPOTS,
    between_marks,
    claims_page,
    main,
)
from tests.analysis.studies import measured, record, write_study
from wanexp.compose import expand_sweep

METRICS = {"detail": "one", "jitter": "lower", "background_warp": "lower", "flicker": "lower"}
METRICS |= {"face_detail": "one", "motion_top5": "higher"}


def study(folder, name):
    """The sweep's own arms on five cases, all alike."""
    arms = list(expand_sweep(name, ["case=astronaut", "seed=0"]).arms)
    rows, records = [], []
    for case in range(5):
        for number, arm in enumerate(arms):
            digest = f"{arm}{case}"
            rows.append((arm, f"case{case}", 0, digest))
            values = {
                key: measured(0.7 + 0.01 * case + 0.001 * number, way)
                for key, way in METRICS.items()
            }
            values["motion_top5"] = measured(20.0, "higher")
            records.append(record(digest, measurements=values, timings={"sample": 2.0 + number}))
    paths = write_study(folder, rows, records)
    tree = json.loads(paths.study.read_text()) | {"name": name}
    tree["protocol"] = {"name": "full", "primary": "detail", "margin": 0.1}
    paths.study.write_text(json.dumps(tree))
    return paths.root


@pytest.fixture
def folders(tmp_path):
    return [study(tmp_path / name, name) for name in ("guide_claims", "guide_sweet_spots")]


def test_every_claim_has_a_row_and_an_answer(folders, capsys):
    main([str(folder) for folder in folders])
    out = capsys.readouterr().out
    claims = (*HEADLINES, *EQUAL_COST, *SPOTS, *READINGS)
    rows = [line for line in out.splitlines() if line.startswith("| ") and "**" in line]
    assert len(rows) == len(claims)
    for claim, row in zip(claims, rows, strict=True):
        assert row.startswith(f"| {claim.says} |")
    assert "25 videos: 5 cases × 1 seed, `guide_claims`." in out
    assert "nan" not in out


def test_the_arms_that_claims_speak_of_are_in_the_sweeps(folders):
    # An arm that is missing has no pairs, which reads as too few cases.
    from analysis.load import load_study

    page = claims_page(*map(load_study, folders))
    assert "only 0 cases" not in page and "too few finished" not in page


def test_what_people_wrote_around_the_tables_stays(folders, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\nread this\n\n{BEGIN}\nformer tables\n{END}\n\n## After\n")
    main([str(folders[0]), "--out", str(page)])
    text = page.read_text()
    assert text.startswith("# Title\n\nread this") and text.endswith("## After\n")
    assert "former tables" not in text and "### What it promises" in text
    main([str(folders[0]), "--out", str(page)])
    assert page.read_text() == text


def test_a_page_without_marks_gets_them_at_its_end():
    assert between_marks("", "tables") == f"{BEGIN}\n\ntables\n\n{END}\n"
    assert between_marks("a\n", "tables").startswith(f"a\n\n{BEGIN}")
