"""How numbers are written, the same on every page, chart and table."""

from __future__ import annotations

__all__ = ["duration", "in_flops", "number", "points"]

PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")


def points(difference: float) -> str:
    """A difference of fractions, in percentage points with its sign."""
    # An end just beside 0 must not look like 0: on it hangs the verdict.
    digits = 2 if abs(difference) < 0.0005 else 1
    return f"{100 * difference:+.{digits}f}".replace("-", "\N{MINUS SIGN}") if difference else "0.0"


def number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 999.5 else f"{value:.3g}"


def in_flops(value: float, unit: str = "FLOPs") -> str:
    """With the prefix that leaves one to three digits before the point: 4.97 TFLOPs, or without a unit 4.97 T."""
    rounded, place = float(f"{value:.3g}"), 0
    while place < len(PREFIXES) - 1 and rounded >= 1000 ** (place + 1):
        place += 1
    return f"{number(value / 1000.0**place)} {PREFIXES[place]}{unit}".strip()


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    size, unit = next((pair for pair in ((3600, "h"), (60, "min")) if seconds >= 2 * pair[0]), (1, "s"))
    return f"{number(seconds / size)} {unit}"
