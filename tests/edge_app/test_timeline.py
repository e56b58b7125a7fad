"""The board's time line on the page of a benchmark."""

from xml.etree import ElementTree

from limiar.edge_app.bench.timeline import timeline_svg
from limiar.edge_app.system.board import BoardSample


def run(throttled_at: int | None = None) -> list[BoardSample]:
    return [
        BoardSample(
            at_s=second,
            clock_low_mhz=1500.0,
            temperature_c=50.0 + second,
            others=0.02,
            stolen=0.0,
            throttled=4 if second == throttled_at else 0,
        )
        for second in range(20)
    ]


def test_the_time_line_has_a_strip_for_each_figure() -> None:
    drawn = ElementTree.fromstring(timeline_svg(run()))
    heads = [text.text for text in drawn.iter("text") if text.get("class") == "head"]
    assert [head.partition(",")[0] for head in heads if head] == [
        "processor",
        "slowest clock",
        "other programs",
        "stolen by the host",
    ]


def test_throttling_is_shaded() -> None:
    assert "--bad" not in timeline_svg(run())
    assert timeline_svg(run(throttled_at=7)).count("--bad") == 1


def test_what_the_board_does_not_tell_has_no_strip() -> None:
    assert timeline_svg([]) == ""
    assert timeline_svg([BoardSample(at_s=0.0), BoardSample(at_s=1.0)]) == ""
    assert timeline_svg([BoardSample(at_s=0.0, others=0.1)]) == ""
