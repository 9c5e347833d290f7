"""Whatever a file holds, the readers of LIDC's XML leave with a FactoryError or with reads.

A few hundred examples, the same each time. With FACTORY_FUZZ_SECONDS each test goes on for that
long, with other examples each time.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lidc_xml import NAMESPACE, box_read, lidc_text, make_stack, on_slice, read_of, reads_of, ring

from factory.errors import FactoryError
from factory.lidc.consensus import Consensus, ConsensusConfig, consensus
from factory.lidc.parse import read_lidc_header, read_lidc_xml
from factory.lidc.reads import Contour, LidcReads, Ratings, Reader, ReadNodule

SECONDS = float(os.environ.get("FACTORY_FUZZ_SECONDS") or 0)
PROFILE = settings(
    deadline=None,
    max_examples=100,
    database=None,
    derandomize=not SECONDS,
    suppress_health_check=list(HealthCheck),
)

STACK = make_stack(4, 12, 12)
SEED = lidc_text(
    reads_of(
        [read_of(*(on_slice(k, ring(3, 3, 4, 4)) for k in (1, 2)), ratings=Ratings(texture=3))],
        [box_read([2], 4, 3, 4, 3, malignancy=4), read_of(on_slice(1, [(5, 5)], inclusion=False))],
        num_small=1,
    )
).encode()

TAGS = [
    "LidcReadMessage",
    "IdriReadMessage",
    "ResponseHeader",
    "SeriesInstanceUid",
    "StudyInstanceUID",
    "readingSession",
    "unblindedReadNodule",
    "blindedReadNodule",
    "noduleID",
    "characteristics",
    "subtlety",
    "internalStructure",
    "margin",
    "malignancy",
    "roi",
    "imageZposition",
    "imageSOP_UID",
    "inclusion",
    "edgeMap",
    "xCoord",
    "yCoord",
    "nonNodule",
    "locus",
]
TOKENS = [
    b"<",
    b">",
    b"</",
    b"/>",
    b"&",
    b"&lt;",
    b"&#x0;",
    b"&a;",
    b"<!DOCTYPE a [",
    b'<!ENTITY a "b">',
    b"<![CDATA[",
    b"]]>",
    b"<!--",
    b"-->",
    b"<?xml version='1.0' encoding='utf-16'?>",
    b"encoding='idna'",
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"1e999",
    b"-1",
    b"99999999999999999999",
    b"NaN",
    b" xmlns:a='b'",
    *(f"<{tag}>".encode() for tag in TAGS),
    *(f"</{tag}>".encode() for tag in TAGS),
]


def fuzz(strategy: st.SearchStrategy[Any], check: Callable[[Any], object]) -> None:
    """Check examples of a strategy: a few hundred, or for as long as is asked for."""
    until = time.monotonic() + SECONDS
    while True:

        @PROFILE
        @given(strategy)
        def examples(value: Any) -> None:
            check(value)

        examples()
        if time.monotonic() >= until:
            return


def refused_or(call: Callable[[], Any]) -> tuple[Any, str]:
    """Return what a call returns, or the message of the FactoryError that it leaves with."""
    try:
        return call(), ""
    except FactoryError as error:
        return None, str(error)


def check_consensus(reads: LidcReads, config: ConsensusConfig | None = None) -> Consensus | None:
    """Draw reads on a CT, and check what must hold of every consensus and every refusal."""
    found: Consensus
    found, refusal = refused_or(lambda: consensus(reads, STACK, config or ConsensusConfig()))
    if refusal:
        assert "; expected" in refusal
        return None
    counts = np.bincount(found.labels.ravel(), minlength=len(found.nodules) + 1)[1:]
    assert counts.tolist() == [nodule.num_voxels for nodule in found.nodules]
    assert counts.tolist() == sorted(counts, reverse=True)
    for nodule in found.nodules:
        assert 1 <= nodule.num_readers == len(nodule.ratings) <= found.num_readers
        assert nodule.agreement is None or 0 <= nodule.agreement <= 1
    return found


@pytest.fixture
def check_bytes(tmp_path: Path) -> Callable[[bytes], None]:
    """Read a file of these bytes, and draw what it holds."""
    path = tmp_path / "a.xml"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        _, no_header = refused_or(lambda: read_lidc_header(path, "c1"))
        reads, no_reads = refused_or(lambda: read_lidc_xml(path, "c1"))
        for refusal in filter(None, (no_header, no_reads)):
            assert refusal.startswith("case c1: the XML")
            assert "; expected" in refusal
            assert "\n" not in refusal
        assert not (no_header and reads)
        if reads:
            check_consensus(reads)

    return check


edits = st.lists(
    st.tuples(
        st.integers(0, len(SEED)),
        st.integers(0, 30),
        st.one_of(st.sampled_from(TOKENS), st.binary(max_size=6)),
    ),
    max_size=6,
)


def edited(changes: list[tuple[int, int, bytes]]) -> bytes:
    content = SEED
    for at, length, new in changes:
        content = content[:at] + new + content[at + length :]
    return content


def test_the_file_that_is_mutated_is_whole(check_bytes):
    check_bytes(SEED)
    check_bytes(SEED.decode().encode("utf-16"))


def test_a_file_with_bytes_changed_is_read_or_refused(check_bytes):
    fuzz(edits.map(edited), check_bytes)


def test_any_bytes_are_refused(check_bytes):
    fuzz(st.lists(st.one_of(st.sampled_from(TOKENS), st.binary())).map(b"".join), check_bytes)


texts = st.one_of(
    st.sampled_from(["", "TRUE", "FALSE", "1", "5", "-97.5", "1.2.840.1.1.1", "0x1", "٣", "1_0"]),
    st.integers(-3, 14).map(str),
    st.floats().map(str),
    st.text(max_size=8),
).map(escape)


def element(tag: str, *content: str) -> str:
    return f"<{tag}>{''.join(content)}</{tag}>"


def of(tag: str, *parts: st.SearchStrategy[str], most: int = 4) -> st.SearchStrategy[str]:
    """An element with some of these parts, in any order, any of them repeated."""
    return st.lists(st.one_of(*parts), max_size=most).map(lambda content: element(tag, *content))


leaves = st.builds(element, st.sampled_from(TAGS), texts)
pixels = st.builds(
    lambda x, y: element("edgeMap", element("xCoord", x), element("yCoord", y)),
    *[st.integers(-1, 12).map(str)] * 2,
)
rois = st.builds(
    lambda z, inclusion, edge: element(
        "roi", element("imageZposition", z), element("inclusion", inclusion), *edge
    ),
    st.sampled_from(["-100", "-97.5", "-95.0 ", "-90", "7"]),
    st.sampled_from(["TRUE", "FALSE", "true"]),
    st.lists(pixels, min_size=1, max_size=12),
)
nodules = of("unblindedReadNodule", rois, rois, of("characteristics", leaves), leaves)
sessions = of("readingSession", nodules, nodules, of("nonNodule", leaves), leaves)
messages = of("LidcReadMessage", sessions, of("ResponseHeader", leaves), leaves)


def test_a_message_with_its_elements_in_any_order_is_read_or_refused(check_bytes):
    fuzz(messages.map(lambda text: text.encode("utf-8", "replace")), check_bytes)


def test_what_hypothesis_writes_is_sometimes_whole(tmp_path):
    path = tmp_path / "a.xml"
    edge = "".join(
        element("edgeMap", element("xCoord", f"{x}"), element("yCoord", f"{y}"))
        for y, x in ring(4, 4, 2, 2)
    )
    roi = element("roi", element("imageZposition", "-95.0 "), element("inclusion", "true"), edge)
    path.write_text(
        f"<LidcReadMessage {NAMESPACE}>"
        + element("readingSession", element("unblindedReadNodule", roi))
        + "</LidcReadMessage>"
    )
    found = check_consensus(read_lidc_xml(path))
    assert found is not None
    assert [nodule.num_voxels for nodule in found.nodules] == [4]


contours = st.builds(
    Contour,
    z_mm=st.sampled_from([-100.0, -97.5, -95.0, -92.5, -90.0, 1e5]),
    sop_uid=st.sampled_from(["", "1.2.840.1.1.1", "1.2.840.1.1.2", "other"]),
    inclusion=st.booleans() | st.just(True),
    edge=st.lists(st.tuples(*[st.integers(0, 11)] * 2), min_size=1, max_size=12).map(tuple)
    | st.builds(ring, *[st.integers(1, 5)] * 2, *[st.integers(1, 6)] * 2)
    | st.tuples(st.tuples(*[st.integers(-(2**31), 2**31)] * 2)),
)
ratings = st.builds(
    Ratings, malignancy=st.none() | st.integers(1, 5), texture=st.none() | st.integers(1, 5)
)
read_nodules = st.builds(
    ReadNodule,
    nodule_id=st.just("n"),
    ratings=ratings,
    contours=st.lists(contours, min_size=1, max_size=3).map(tuple),
)
readers = st.builds(Reader, nodules=st.lists(read_nodules, max_size=3).map(tuple))
lidc_reads = st.builds(
    LidcReads,
    case_id=st.just("c1"),
    series_uid=st.sampled_from(["", "1.2.840.1.1", "7.7"]),
    study_uid=st.just(""),
    readers=st.lists(readers, max_size=5).map(tuple),
)
configs = st.builds(
    ConsensusConfig,
    share=st.floats(0.01, 1.0),
    of_all_readers=st.booleans(),
    min_readers=st.integers(1, 3),
    reach_mm=st.floats(0.0, 5.0),
)


def test_reads_of_any_outlines_are_agreed_on_or_refused():
    fuzz(st.tuples(lidc_reads, configs), lambda drawn: check_consensus(*drawn))
