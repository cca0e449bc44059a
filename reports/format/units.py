"""Numbers to words, at the very end: 3221225472 to "3.00 GiB", 75.4 to "1 min 15 s".

None is refused (TypeError) and so are NaN, infinities and, where they mean nothing, negative numbers (ValueError): what is
absent is shown by the caller, who knows why.
"""

from __future__ import annotations

import math

TIME_UNITS = (("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0), ("milliseconds", 1e-3))
MEMORY_UNITS = (("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10), ("bytes", 1.0))
ENERGY_UNITS = (("MJ", 1e6), ("kJ", 1e3), ("J", 1.0))
"""What an axis may be in, the largest first, and what each is worth."""

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_DECIMAL = ("", " k", " M", " B", " T")


def size(value_bytes: float) -> str:
    """Bytes in binary units with three digits: ``512 B``, ``3.00 GiB``."""
    value = _checked(value_bytes)
    unit = 0
    while value >= (1000 if unit == 0 else 1023.5) and unit < len(_BINARY) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} B" if unit == 0 else f"{_three_digits(value)} {_BINARY[unit]}"


def duration(value_seconds: float) -> str:
    """Seconds as people say them: ``35.0 ms``, ``12.3 s``, ``1 min 15 s``, ``2 h 05 min``, ``3 d 04 h``."""
    value = _checked(value_seconds)
    if 0 < value < 0.9995:
        return f"{_three_digits(value * 1000)} ms"
    if value < 59.95:
        return f"{_three_digits(value)} s" if value else "0 s"
    for limit_seconds, step_seconds, large, small in ((3600, 1, "min", "s"), (172_800, 60, "h", "min")):
        if round(value / step_seconds) * step_seconds < limit_seconds:
            return "{} {} {:02d} {}".format(*_split(value / step_seconds, large, small, 60))
    return "{} {} {:02d} {}".format(*_split(value / 3600, "d", "h", 24))


def count(value: float) -> str:
    """A count: exact below ten thousand, then ``12.3 k``, ``123.5 M``, ``1.5 B`` (billions), ``2.0 T``."""
    value = _checked(value)
    if value < 10_000:
        return f"{value:,.0f}"
    unit = 0
    while value >= 999.95 and unit < len(_DECIMAL) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:,.1f}{_DECIMAL[unit]}"


def rate(value_per_second: float) -> str:
    """A rate's number, without its unit: ``0.42``, ``12.3``, ``1,234``."""
    value = _checked(value_per_second)
    return _three_digits(value) if value < 1000 else f"{value:,.0f}"


def energy(value_joules: float) -> str:
    """Joules: ``850 J``, ``12.3 kJ``, ``1.20 MJ``."""
    value = _checked(value_joules)
    for scale, unit in ((1e6, "MJ"), (1e3, "kJ")):
        if value >= 0.9995 * scale:
            return f"{_three_digits(value / scale)} {unit}"
    return f"{_three_digits(value)} J"


def percent(value: float) -> str:
    """An accuracy in 0..100 with two decimals."""
    return f"{_checked(value):.2f}"


def whole_percent(value: float) -> str:
    """A share: ``73 %``."""
    return f"{_checked(value):.0f} %"


def flops(value: float) -> str:
    """Floating-point operations: ``747 G``, ``1.32 T``."""
    value = _checked(value)
    for scale, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= 0.9995 * scale:
            return f"{_three_digits(value / scale)} {unit}"
    return f"{value:,.0f}"


def points(difference: float) -> str:
    """A difference of two accuracies, signed: ``+3.20``, ``−0.15``, ``±0``."""
    if not math.isfinite(difference):
        raise ValueError(f"no finite number: {difference}")
    text = f"{abs(difference):.2f}"
    return "±0" if text == "0.00" else f"{'+' if difference > 0 else '−'}{text}"


def percent_range(middle: float, margin: float) -> str:
    """The interval around an accuracy, kept to 0..100: ``64.1–68.9``."""
    return f"{max(_checked(middle) - _checked(margin), 0):.1f}–{min(middle + margin, 100):.1f}"


def times(ratio: float) -> str:
    """A ratio as ``3.7 times``, ``15 times``."""
    return f"{_checked(ratio):.{1 if ratio < 9.95 else 0}f} times"


def _split(value: float, large: str, small: str, per: int) -> tuple[int, str, int, str]:
    whole, rest = divmod(round(value), per)
    return whole, large, rest, small


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def _checked(value: float) -> float:
    if type(value) is float and 0 <= value < math.inf:
        return value
    if value is None or isinstance(value, bool):
        raise TypeError(f"no number: {value!r}")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"no number from 0 on: {value}")
    return float(value)
