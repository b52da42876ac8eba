"""The statistics of the bench: what a ratio is, which bound is reached."""

import pytest
from bench.figures import Sample, ratio, spread
from bench.results import Section, table
from bench.targets import TARGETS, judged, lines


def sample(rate: float, client_us: float = 2.0) -> Sample:
    return Sample(
        events=1000, seconds=1000 / rate, client_cpu=client_us / 1000, server_cpu=0.01, rss_mib=3.0
    )


def test_a_ratio_compares_within_a_round() -> None:
    # Both halve in the second round: the machine did, not they.
    compared = ratio([sample(100), sample(50), sample(200)], [sample(50), sample(25), sample(100)])
    assert compared.median == pytest.approx(2)
    assert (compared.low, compared.high) == (pytest.approx(2), pytest.approx(2))
    with pytest.raises(ValueError, match="zip"):
        ratio([sample(1)], [])


def test_spread_is_median_and_range() -> None:
    found = spread([3, 1, 2])
    assert (found.median, found.low, found.high) == (2, 1, 3)
    assert str(found) == "2.00 (1.00-3.00)"


def test_figures_are_per_event() -> None:
    one = sample(500, client_us=2.5)
    assert one.rate == pytest.approx(500)
    assert one.client_us == pytest.approx(2.5)
    assert one.server_us == pytest.approx(10)


def test_what_was_not_measured_is_not_judged() -> None:
    assert judged({}) == []
    assert lines([]) == []
    assert judged({"throughput": Section("none")}) == []


def test_bounds_hold_in_their_direction() -> None:
    section = Section("all", reference="raw COPY, 1 session")
    section.samples = {
        "raw COPY, 1 session": [sample(1000)],
        "ours, 1 writer": [sample(960, client_us=2.6)],
    }
    verdicts = {each["what"]: each for each in judged({"throughput": section})}
    assert verdicts["1 writer to raw COPY, 1 session"]["reached"] is True
    assert verdicts["client CPU per event, 1 writer, us"]["reached"] is False
    text = "\n".join(lines(list(verdicts.values())))
    assert "reached" in text
    assert "MISSED" in text


def test_the_best_python_peer_counts() -> None:
    section = Section("all")
    section.samples = {
        "ours, 1 writer": [sample(100)],
        "ours, 2 writers": [sample(200)],
        "psycopg 3, staged": [sample(50)],
        "asyncpg": [sample(80)],
    }
    verdicts = {each["what"]: each["value"] for each in judged({"throughput": section})}
    assert verdicts["1 writer to the best Python COPY peer"] == pytest.approx(1.25)
    assert verdicts["2 writers to the best Python COPY peer"] == pytest.approx(2.5)


def test_every_target_is_named_once() -> None:
    names = [target.what for target in TARGETS]
    assert len(names) == len(set(names))


def test_a_table_aligns_its_columns() -> None:
    assert table([("", "rate"), ("name", "1")]) == ["      rate", "name     1"]
