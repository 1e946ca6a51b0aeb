"""A quantity carries its unit, and a bare number is refused with the right spelling."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits import parse_many

from gateway.table.spec import RateLimit
from gateway.table.spelling import Wrong
from gateway.table.units import duration_s, fraction, percent_bp, rate_limits, size_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

READERS: list[Callable[[object], object]] = [percent_bp, fraction, duration_s, size_bytes, rate_limits]


@pytest.mark.parametrize(
    ("written", "basis_points"),
    [("0%", 0), ("0.01%", 1), ("5%", 500), ("2.50%", 250), ("99.99%", 9999), ("100%", 10_000)],
)
def test_a_percentage_becomes_basis_points(written: str, basis_points: int) -> None:
    assert percent_bp(written) == basis_points


@given(st.integers(0, 10_000))
def test_every_step_of_a_hundredth_percent_is_exact(basis_points: int) -> None:
    assert percent_bp(f"{basis_points / 100:.2f}%") == basis_points


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("500ms", 0.5), ("30s", 30.0), ("1m30s", 90.0), ("1.5s", 1.5), ("2h", 7200.0), ("1d", 86_400.0)],
)
def test_a_duration_becomes_seconds(written: str, seconds: float) -> None:
    assert duration_s(written) == seconds


@pytest.mark.parametrize(
    ("written", "size"), [("1KiB", 1024), ("10MiB", 10_485_760), ("1.5KiB", 1536), ("1GiB", 1 << 30)]
)
def test_a_size_becomes_bytes(written: str, size: int) -> None:
    assert size_bytes(written) == size


@pytest.mark.parametrize(
    "written",
    [
        "100/minute",
        "10/second;1000/hour",
        "10 per minute",
        "10 per 5 minutes",
        "100/5minute",
        "1/day, 2/hours",
    ],
)
def test_a_rate_reads_as_the_limits_library_reads_it(written: str) -> None:
    theirs = [(item.amount, item.multiples, item.GRANULARITY.name) for item in parse_many(written)]
    assert [(rate.amount, rate.multiples, rate.unit) for rate in rate_limits(written)] == theirs


@given(st.integers(1, 10**6), st.integers(1, 60), st.sampled_from(["second", "minute", "hour", "day"]))
def test_a_rate_is_read_back_as_it_is_written(amount: int, multiples: int, unit: str) -> None:
    (rate,) = rate_limits(f"{amount} per {multiples} {unit}s")
    assert rate_limits(str(rate)) == (rate,)
    assert rate == RateLimit(amount, multiples, rate.unit)


@pytest.mark.parametrize(
    ("read", "written", "message", "repair"),
    [
        (percent_bp, 5, "5 has no %", "write 5%"),
        (percent_bp, "5", "5 has no %", "write 5%"),
        (percent_bp, "5 %", "5 % is not a percentage as the table writes it", "write 5%"),
        (percent_bp, "120%", "120% is above 100%", "write 0% to 100%"),
        (percent_bp, "0.005%", "0.005% is finer than steps of 0.01%", "write 0.00%"),
        (percent_bp, "-5%", "-5% is not a percentage", "write it like 5% or 0.25%"),
        (percent_bp, True, "must be a percentage, not true", "write it like 5%"),
        (percent_bp, None, "must be a percentage, not nothing", "write it like 5%"),
        (duration_s, 30, "30 has no unit", "write 30s"),
        (duration_s, "30", "30 has no unit", "write 30s"),
        (duration_s, "30 seconds", "30 seconds is not a duration as the table writes it", "write 30s"),
        (duration_s, "5min", "5min is not a duration as the table writes it", "write 5m"),
        (
            duration_s,
            "30s1m",
            "30s1m is not a duration",
            "write each unit once, the largest first, like 1m30s",
        ),
        (duration_s, "0s", "0s leaves no time at all", "write a duration above zero, like 30s"),
        (duration_s, "999d", "999d is above a year", "write at most 366d"),
        (size_bytes, 10_485_760, "10485760 has no unit", "write 10MiB"),
        (size_bytes, 10, "10 has no unit", "write 10MiB"),
        (size_bytes, "10MB", "10MB is not a size as the table writes it", "write 10MiB"),
        (size_bytes, "0KiB", "0KiB allows nothing at all", "write a size above zero, or none for no limit"),
        (rate_limits, 100, "100 has no unit of time", "write 100/minute"),
        (rate_limits, "100", "100 has no unit of time", "write 100/minute"),
        (rate_limits, "100/min", "100/min has an unknown unit of time", "write 100/minute"),
        (rate_limits, "5/m", "5/m has an unknown unit of time", "write 5/minute"),
        (rate_limits, "5/month", "5/month has an unknown unit of time", "write second, minute, hour or day"),
        (
            rate_limits,
            "0/minute",
            "0/minute allows nothing at all",
            "write numbers above zero, or none for no limit",
        ),
        (rate_limits, "lots", "lots is not a rate", "write it like 100/minute or 10/second;1000/hour"),
    ],
    ids=lambda value: getattr(value, "__name__", repr(value)),
)
def test_a_wrong_quantity_shows_the_right_spelling(
    read: Callable[[object], object], written: object, message: str, repair: str
) -> None:
    with pytest.raises(Wrong) as caught:
        read(written)
    assert (caught.value.message, caught.value.repair) == (message, repair)


@given(
    st.sampled_from(READERS),
    st.text() | st.integers() | st.floats() | st.none() | st.booleans() | st.lists(st.integers()),
)
def test_any_value_is_read_or_refused_in_words(read: Callable[[object], object], value: object) -> None:
    with contextlib.suppress(Wrong):
        assert read(value) is not None
