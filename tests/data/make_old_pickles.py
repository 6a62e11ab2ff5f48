"""Makes `rdms_pandas_1.0.p` and `rdms_pandas_1.5.p`, as old versions wrote a stack.

Run once in each of two throw-away environments, Python 3.7 with pandas 1.0.5 and numpy 1.19.5, and
Python 3.9 with pandas 1.5.3 and numpy 1.26.4::

    python make_old_pickles.py rdms_pandas_1.0.p
"""

import sys

import numpy as np
import pandas as pd


def main(path):
    """Write the stack to `path`."""
    keys = [("000",), ("001",), ("002",)]
    rows = []
    for number, layer in enumerate(["conv1", "fc1"], start=1):
        for perm, scramble in (("orig_data", [0, 1, 2]), (1, [2, 0, 1])):
            matrix = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 3.0, 0.0]]) * number
            rows.append(
                {
                    "df_name": "old",
                    "model": "alexnet",
                    "layer": layer,
                    "layer_num": number,
                    "layer_label": (layer, number),
                    "dissim_metric": "corr",
                    "activation_type": "unit_level",
                    "matrix": matrix[np.ix_(scramble, scramble)],
                    "entry_keys": keys,
                    "entry_labels": [{"color": key[0]} for key in keys],
                    "kernel_set_name": "all",
                    "kernel_inds": "all",
                    "perm": perm,
                    "perm_scramble": scramble,
                    "dissim_rankings": [1, 2, 0],
                    "obj": "obj001",
                }
            )
    # Concatenated, as the rows of several image sets were, with an index that repeats.
    half = len(rows) // 2
    df = pd.concat([pd.DataFrame(rows[:half]), pd.DataFrame(rows[half:])])
    df.to_pickle(path)


if __name__ == "__main__":
    main(sys.argv[1])
