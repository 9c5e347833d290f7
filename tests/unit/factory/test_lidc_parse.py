import os
import re

import pytest
from lidc_xml import (
    NAMESPACE,
    SERIES_UID,
    STUDY_UID,
    box_read,
    lidc_text,
    on_slice,
    read_of,
    reads_of,
    ring,
    write_lidc_xml,
)

from factory.errors import CaseError
from factory.lidc import message
from factory.lidc.parse import CT_MESSAGE, read_lidc_header, read_lidc_xml
from factory.lidc.reads import SCALES, LidcReads, Ratings, Reader

RATED = {name: 1 + number % highest for number, (name, highest) in enumerate(SCALES.items())}
HOLLOW = read_of(
    on_slice(6, ring(9, 9, 7, 7)), on_slice(6, ring(12, 12, 2, 2), inclusion=False), name="hollow"
)
READS = LidcReads(
    case_id="c1",
    series_uid=SERIES_UID,
    study_uid=STUDY_UID,
    readers=(
        Reader(
            nodules=(box_read([2, 3], 5, 6, 4, 3, **RATED), box_read([7], 20, 9, 2, 2)),
            num_small=3,
            num_non_nodules=1,
        ),
        Reader(num_non_nodules=2),
        Reader(nodules=(box_read([3, 4], 5, 5, 4, 4, malignancy=2), HOLLOW), num_small=1),
    ),
)


@pytest.fixture
def xml(tmp_path):
    return write_lidc_xml(tmp_path / "069.xml", READS)


@pytest.fixture
def edited(xml):
    """Return the case's file with one piece of its text replaced, once."""

    def edit(old, new):
        text = xml.read_text()
        assert old in text
        xml.write_text(text.replace(old, new, 1))
        return xml

    return edit


def test_everything_that_readers_mark_is_read_back(xml):
    assert read_lidc_xml(xml, "c1") == READS


@pytest.mark.parametrize(
    ("xmlns", "prefix"),
    [("", ""), (NAMESPACE, ""), ('xmlns:lidc="http://www.nih.gov"', "lidc:"), ("", "lidc:")],
)
def test_a_namespace_makes_no_difference(tmp_path, xmlns, prefix):
    path = write_lidc_xml(tmp_path / "a.xml", READS, xmlns=xmlns, prefix=prefix)
    assert read_lidc_xml(path, "c1") == READS


def test_the_marks_of_all_readers_are_counted(xml):
    reads = read_lidc_xml(xml)
    assert (reads.num_small, reads.num_non_nodules) == (4, 3)


def test_a_case_without_a_name_is_named_after_its_file(xml):
    assert read_lidc_xml(xml).case_id == "069"


def test_errors_of_a_named_case_do_not_tell_the_name_of_its_file(xml):
    xml.write_text("<a></b>")
    for read in (read_lidc_xml, read_lidc_header):
        with pytest.raises(CaseError, match=r"^case c1: the XML is no whole XML") as caught:
            read(xml, "c1")
        assert "069" not in str(caught.value)


def test_the_ids_of_the_radiologists_and_all_dates_stay_in_the_file(xml):
    reads = read_lidc_xml(xml)
    for identity in ("540461523", "2007-11-01"):
        assert identity not in repr(reads)
        assert identity not in repr(reads.readers)


def test_ratings_that_are_missing_empty_or_zero_are_none(edited):
    reads = read_lidc_xml(edited("<malignancy>2<", "<texture>0</texture><malignancy> <"))
    assert reads.readers[2].nodules[0].ratings == Ratings()
    assert reads.readers[0].nodules[1].ratings == Ratings()


def test_a_number_is_what_stands_before_any_child(edited):
    path = edited("<xCoord>5</xCoord>", "<xCoord>5<b>1</b>7</xCoord>")
    assert read_lidc_xml(path, "c1") == READS


def test_a_number_behind_blanks_and_comments_is_read(edited):
    path = edited("<xCoord>5</xCoord>", f"<xCoord>{' ' * 500}\n<!-- x -->\t5 </xCoord>")
    assert read_lidc_xml(path, "c1") == READS


def test_blinded_reads_are_left_out_and_told(edited):
    path = edited("<readingSession>", "<readingSession><blindedReadNodule></blindedReadNodule>")
    reads = read_lidc_xml(path, "c1")
    assert reads.readers == READS.readers
    assert reads.notes == ("1 blinded reads left out: the unblinded ones count",)


def test_marks_on_a_radiograph_are_refused_with_the_reason(tmp_path):
    path = write_lidc_xml(tmp_path / "a.xml", READS, root="IdriReadMessage")
    with pytest.raises(
        CaseError, match=r"case c7: the XML is an IdriReadMessage: marks on a chest"
    ):
        read_lidc_xml(path, "c7")


def test_another_xml_is_refused_by_its_name(tmp_path):
    path = write_lidc_xml(tmp_path / "a.xml", READS, root="plist")
    with pytest.raises(CaseError, match=r"the XML is 'plist'; expected a LidcReadMessage"):
        read_lidc_xml(path)


def test_a_message_without_readers_is_refused(tmp_path):
    path = write_lidc_xml(tmp_path / "a.xml", reads_of())
    with pytest.raises(CaseError, match=r"has no readingSession; expected one for each reader"):
        read_lidc_xml(path)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("<xCoord>5<", "<xCoord>5.5<", "reader 1, nodule 1, roi 1 has xCoord '5.5'; expected a wh"),
        ("<xCoord>5<", "<xCoord>\u0665<", "has xCoord '\u0665'; expected a whole number"),
        ("<yCoord>4<", "<yCoord>9999999<", "has yCoord '9999999'; expected a whole number"),
        ("<yCoord>4</yCoord>", "", "has yCoord ''; expected a whole number"),
        ("-95.000000 ", "nan", "has imageZposition 'nan'; expected a height in mm"),
        ("-95.000000 ", "-1e6", "has imageZposition '-1e6'; expected a height"),
        ("-95.000000 ", "low", "has imageZposition 'low'; expected a height"),
        (">TRUE<", ">MAYBE<", "has inclusion 'MAYBE'; expected TRUE or FALSE"),
        ("<subtlety>1<", "<subtlety>6<", "reader 1, nodule 1 has subtlety 6; expected 1 to 5"),
        ("<subtlety>1<", "<subtlety>-1<", "has subtlety -1; expected 1 to 5"),
        ("<subtlety>1<", "<subtlety>clear<", "has subtlety 'clear'; expected a whole number"),
        ("Structure>2<", "Structure>5<", "has internalStructure 5; expected 1 to 4"),
    ],
)
def test_a_malformed_value_is_refused_by_the_name_of_its_element(edited, old, new, problem):
    with pytest.raises(CaseError, match=re.escape(problem)) as caught:
        read_lidc_xml(edited(old, new))
    assert str(caught.value).startswith("case 069: the XML, reader 1, nodule 1")
    assert "Download the file again, or leave it out." in str(caught.value)


def test_a_nodule_without_an_outline_is_refused(tmp_path):
    text = lidc_text(READS)
    for pattern, problem in (
        (r"<roi>.*</roi>", "reader 1, nodule 1 has no roi; expected one for each slice"),
        (r"<edgeMap>.*?(?=</roi>)", r"roi 1 has 0 pixels \(edgeMap\); expected an outline of 1"),
    ):
        path = tmp_path / "a.xml"
        path.write_text(re.sub(pattern, "", text, flags=re.DOTALL))
        with pytest.raises(CaseError, match=problem):
            read_lidc_xml(path)


def test_entity_bombs_external_entities_and_any_dtd_are_refused(tmp_path):
    bomb = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    for dtd in (
        f'<!DOCTYPE x [<!ENTITY a0 "ha">{bomb}]>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">',
        "<!DOCTYPE x>",
    ):
        path = write_lidc_xml(tmp_path / "a.xml", READS, prolog=dtd)
        for read in (read_lidc_xml, read_lidc_header):
            with pytest.raises(
                CaseError, match=r"declares a DTD or an entity .*expected plain XML"
            ):
                read(path)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "a.xml"
    with path.open("wb") as file:
        file.truncate(20 << 30)
    with pytest.raises(CaseError, match=r"the XML has more than 16 MiB; expected the marks of one"):
        read_lidc_xml(path)


def test_a_file_with_too_many_elements_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(message, "_ELEMENTS_AT_MOST", 1000)
    (tmp_path / "a.xml").write_text("<a>" + "<b/>" * 1000 + "</a>")
    with pytest.raises(CaseError, match=r"has more than 1000 elements; expected the marks"):
        read_lidc_xml(tmp_path / "a.xml")


def test_a_file_that_nests_without_end_is_refused(tmp_path):
    (tmp_path / "a.xml").write_text("<a>" * 100_000)
    with pytest.raises(CaseError, match=r"nests deeper than 16 elements; expected 6"):
        read_lidc_xml(tmp_path / "a.xml")


def test_more_nodules_than_a_ct_can_have_are_refused(tmp_path):
    path = write_lidc_xml(tmp_path / "a.xml", reads_of([box_read([0], 5, 5, 1, 1)] * 257))
    with pytest.raises(CaseError, match=r"has 257 outlined nodules; expected at most 256"):
        read_lidc_xml(path)


def test_an_outline_longer_than_any_nodule_is_refused(tmp_path):
    read = box_read([0], 1, 1, 4000, 7000)
    path = write_lidc_xml(tmp_path / "a.xml", reads_of([read]))
    with pytest.raises(
        CaseError, match=r"has 22004 pixels \(edgeMap\); expected an outline of 1 to"
    ):
        read_lidc_xml(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(xml, share):
    data = xml.read_bytes()
    xml.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CaseError, match=r"the XML is no whole XML \(line \d+: .*\); expected XML"):
        read_lidc_xml(xml)


@pytest.mark.parametrize(
    "content",
    [b"hello", b"\x00" * 400, b"\xff\xfe<\x00", b'<?xml version="1.0" encoding="zip"?><a/>'],
)
def test_a_file_that_is_no_xml_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "a.xml").write_bytes(content)
    for read in (read_lidc_xml, read_lidc_header):
        with pytest.raises(CaseError, match=r"the XML (is no|cannot|has no)") as caught:
            read(tmp_path / "a.xml")
        assert "\n" not in str(caught.value)


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.xml")
    for name, reason in (("pipe", "is no file"), ("none", "cannot be read"), ("x\0", "cannot be")):
        with pytest.raises(CaseError, match=reason):
            read_lidc_xml(tmp_path / f"{name}.xml")


def test_the_header_says_of_which_series_a_message_speaks(xml, tmp_path):
    header = read_lidc_header(xml)
    assert (header.message, header.series_uid, header.study_uid) == (
        CT_MESSAGE,
        SERIES_UID,
        STUDY_UID,
    )
    (tmp_path / "b.xml").write_text("<plist><dict/></plist>")
    other = read_lidc_header(tmp_path / "b.xml")
    assert (other.message, other.series_uid) == ("plist", "")


def test_the_header_is_read_without_what_follows(xml):
    text = xml.read_text()
    xml.write_text(text[: text.index("<readingSession>") + 20] + "torn < & >")
    assert read_lidc_header(xml).series_uid == SERIES_UID
