"""Numbers as CPython's argument parser takes them: what does not fit C is refused, in its words, before all else."""

from __future__ import annotations

from operator import index
from typing import Any, Final

_INT: Final = 1 << 31
_LONG: Final = 1 << 63


def size(value: Any) -> int:
    """Return `value` as a Py_ssize_t. Raises: TypeError, OverflowError."""
    number = index(value)
    if not -_LONG <= number < _LONG:
        raise OverflowError("Python int too large to convert to C ssize_t")
    return number


def flags(value: Any) -> int:
    """Return `value` as an int. Raises: TypeError, OverflowError."""
    number = index(value)
    if -_INT <= number < _INT:
        return number
    if not -_LONG <= number < _LONG:
        raise OverflowError("Python int too large to convert to C long")
    raise OverflowError(f"signed integer is {'less than minimum' if number < 0 else 'greater than maximum'}")
