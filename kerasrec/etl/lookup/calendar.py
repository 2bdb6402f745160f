"""Dates as numbers of days, by integer arithmetic that expressions and tensors share."""

from __future__ import annotations

from typing import Any

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def days_since_1970(year: Any, month: Any, day: Any) -> Any:
    """Return the number of days from 1970 to a date of the Gregorian calendar; all are int64.

    Months above 12 count on into the next year. Divisions round down, as `//` does for expressions and tensors.
    """
    after_march = (month - 3) // 12  # years begin in March, so that February is the last month
    year = year + after_march
    month = month - 3 - after_march * 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day - 719_469


def of_days(feature: str, days: Any) -> Any:
    """Return the "weekday" (0 is Monday), the "day", "month" or "year" of a number of days since 1970, int64."""
    if feature == "weekday":
        since_monday = days + 3  # 1970 began on a Thursday
        return since_monday - since_monday // 7 * 7
    # By Howard Hinnant's "chrono-compatible low-level date algorithms" (2013), in which years begin in March.
    since = days + 719_468
    era = since // 146_097
    of_era = since - era * 146_097
    year = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    if feature == "day":
        return of_year - (153 * month + 2) // 5 + 1
    if feature == "month":
        return month + 3 - month // 10 * 12
    return year + era * 400 + month // 10


def microseconds(parts: dict[str, Any]) -> tuple[Any, Any]:
    """Return the microseconds from 1970 to a time, and whether there is such a time.

    Args:
        parts: int64 numbers by name: "year" or "short_year" (of two digits), and optionally "month", "day",
            "hour" or "half_hour" (1 to 12) with "afternoon" (0 or 1), "minute", "second", "microsecond",
            "offset_hour", "offset_minute" and "offset_sign" (1 or -1).
    """
    if "short_year" in parts:  # 69 is 1969, 68 is 2068
        year = 1969 + (parts["short_year"] + 31) - (parts["short_year"] + 31) // 100 * 100
    else:
        year = parts["year"]
    month, day = parts.get("month", year * 0 + 1), parts.get("day", year * 0 + 1)
    days = days_since_1970(year, month, day)
    length = days_since_1970(year, month + 1, 1) - days_since_1970(year, month, 1)
    valid = (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= length)
    if "half_hour" in parts:
        valid = valid & (parts["half_hour"] >= 1) & (parts["half_hour"] <= 12)
        parts["hour"] = parts["half_hour"] - parts["half_hour"] // 12 * 12 + 12 * parts["afternoon"]
    time = days * 86_400
    for name, seconds, most in (("hour", 3_600, 23), ("minute", 60, 59), ("second", 1, 59)):
        if name in parts:
            time = time + parts[name] * seconds
            valid = valid & (parts[name] <= most)
    if "offset_hour" in parts:
        time = time - parts["offset_sign"] * (parts["offset_hour"] * 3_600 + parts["offset_minute"] * 60)
        valid = valid & (parts["offset_hour"] <= 23) & (parts["offset_minute"] <= 59)
    time = time * 1_000_000
    return (time + parts["microsecond"] if "microsecond" in parts else time), valid
