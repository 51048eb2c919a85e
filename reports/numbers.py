"""Numbers as they are printed on the pages: grouped digits, a true minus sign, a dash where a value is missing.

Holds formatting alone. Figures hand plotly raw numbers; these functions are for HTML and for hover texts.
"""

import math
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

MISSING = "–"
GROUP = "\u202f"  # narrow no-break space between thousands and before a unit


def count(value: int | float | None) -> str:
    """A whole number with its thousands set apart."""
    return MISSING if value is None or not math.isfinite(value) else f"{int(value):,}".replace(",", GROUP).replace("-", "−")


def grouped(text: str) -> str:
    """The text of a check, which sets thousands apart by commas, with the space that all other numbers of a page have."""
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", GROUP, text)


def number(value: float | None, digits: int = 3) -> str:
    """A number with `digits` significant digits; scientific notation only below 0.0001 and from a million on."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa} · 10{_superscript(int(exponent))}".replace("-", "−")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}".replace("-", "−")


def fixed(value: float | None, decimals: int = 3) -> str:
    """A number with a fixed number of decimals, so that a column lines up; one that rounds to 0 has no sign."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{round(value, decimals) or 0.0:.{decimals}f}".replace("-", "−")


def signed(value: float | None, digits: int = 3) -> str:
    """A change: `number` with its sign, also where it is positive."""
    return f"+{number(value, digits)}" if value is not None and 0 < value < math.inf else number(value, digits)


def error(value: float | None) -> str:
    """A standard error: three decimals, or one significant digit where they would show 0."""
    return number(value, 1) if value is not None and 0 < value < 0.0005 else fixed(value)


def edge(value: float | None) -> str:
    """The edge of a bin, without needless zeros."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.6g}".replace("-", "−")


def percent(value: float | None, decimals: int = 1) -> str:
    """A share, or a change of one, as a percentage. One that is not whole is never rounded to 0 % or 100 %."""
    if value is None or not math.isfinite(value):
        return MISSING
    step = 10.0**-decimals
    if -step / 2 <= value * 100 < 0:
        return f"> −{step:.{decimals}f}{GROUP}%"
    if 0 < value * 100 < step / 2:
        return f"< {step:.{decimals}f}{GROUP}%"
    if 100 - step / 2 <= value * 100 < 100:
        return f"> {100 - step:.{decimals}f}{GROUP}%"
    return f"{value * 100:.{decimals}f}{GROUP}%".replace("-", "−")


def size(value: int | None) -> str:
    """Bytes in the largest fitting unit, thousands a step."""
    if value is None:
        return MISSING
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:.0f}{GROUP}{unit}" if unit == "B" else f"{amount:.1f}{GROUP}{unit}"
        amount /= 1000
    raise AssertionError("the last unit returns")


def duration(seconds: float | None) -> str:
    """Seconds as a length of time with two units at most."""
    if seconds is None:
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f}{GROUP}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{GROUP}h {minutes}{GROUP}min" if hours else f"{minutes}{GROUP}min {rest}{GROUP}s"


def moment(iso: str | None) -> str:
    """An ISO 8601 time as day and minute with its zone; anything else as it was given."""
    if not iso:
        return MISSING
    try:
        time = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    zone = "" if time.tzinfo is None else " UTC" if not time.utcoffset() else time.strftime(" %z")
    return f"{time:%Y-%m-%d %H:%M}{zone}"


def ordinal(place: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, ..."""
    suffix = "th" if place % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{count(place)}{suffix}"


def plural(amount: int | None, one: str, many: str | None = None) -> str:
    """An amount with its noun: 1 neuron, 2 neurons."""
    return f"{count(amount)} {one if amount == 1 else many or one + 's'}"


def rounded(values: Iterable[Any], digits: int = 5) -> list[Any]:
    """For figures: floats with `digits` significant digits (a fifth of the page's weight), None where not finite."""
    return [None if value is None or not math.isfinite(value) else float(f"{value:.{digits}g}") for value in values]


def _superscript(exponent: int) -> str:
    return "".join("⁻" if digit == "-" else "⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(exponent))
