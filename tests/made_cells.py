"""Cells of a frame compared by value and type."""

import numpy as np
import pandas as pd


def same(one, other):
    """Equality of value and type, through all levels."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one), list(other)) and same(list(one.values()), list(other.values()))
    if isinstance(one, np.ndarray):
        return (one.dtype, one.shape) == (other.dtype, other.shape) and same(
            one.ravel().tolist(), other.ravel().tolist()
        )
    if one is pd.NA or one is pd.NaT:
        return one is other
    return repr(one) == repr(other) and (one == other or one != one)
