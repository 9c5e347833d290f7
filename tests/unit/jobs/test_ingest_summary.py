"""The table at the end counts every input once."""

from jobs.ingest.summary import Summary, reason_of


def test_the_table_counts_inputs_by_how_they_ended() -> None:
    summary = Summary(num_new=1200, num_kept=3)
    summary.left_out.update({"a localiser": 5, "not chosen": 9})
    for name in ("a", "b"):
        summary.quarantine(
            name, f"case {name}: /s/{name}_ct.nii.gz has 2 dimensions (8, 9); expected 3."
        )
    assert summary.num_found == 1219
    assert summary.lines() == [
        "found                              1,219",
        "  cases, new                       1,200",
        "  cases, already there                 3",
        "  quarantined: has N dimensions        2",
        "  left out: not chosen                 9",
        "  left out: a localiser                5",
    ]


def test_cases_that_were_made_anew_are_told_from_new_ones() -> None:
    summary = Summary(num_new=2, num_remade=3, num_kept=4)
    assert summary.num_found == 9
    assert summary.lines() == [
        "found                         9",
        "  cases, new                  2",
        "  cases, made anew            3",
        "  cases, already there        4",
    ]


def test_reasons_that_differ_in_paths_and_numbers_are_one() -> None:
    assert reason_of(
        "mask /a b/x_lung.nii.gz has shape (z, y, x) (3, 4, 5) at 2.5 mm; expected"
    ) == ("mask a file has shape at N mm")
    assert reason_of("its worker process ended 2 times; expected it to finish. A scan") == (
        "its worker process ended N times"
    )
    assert reason_of(
        "x.nii.gz cannot be read (BadGzipFile: Not a gzipped file (b'no')); expected"
    ) == ("x.nii.gz cannot be read")
    assert reason_of(
        '/a b/x_ct.nii.gz cannot be read (ImageFileError: file type of "/a b/x_ct.nii.gz"); expected'
    ) == ("cannot be read")
    assert reason_of("x" * 100) == "x" * 57 + "..."


def test_many_reasons_end_in_one_line_for_the_rest() -> None:
    summary = Summary()
    summary.left_out.update({f"reason {chr(97 + n)}": 20 - n for n in range(12)})
    *_, last = summary.lines()
    assert last.split() == ["left", "out:", "other", "reasons", "42"]
    assert len(summary.lines()) == 3 + 8 + 1
