"""The table of people in cities that the guide works with."""

import pandas as pd


def towns():
    """Make nine rows: city, gender, height and income."""
    return pd.DataFrame(
        {
            "city": ["New York"] * 3 + ["Seattle"] * 3 + ["Boston"] * 3,
            "gender": [
                "Male",
                "Male",
                "Female",
                "Female",
                "Female",
                "Male",
                "Male",
                "Female",
                "Female",
            ],
            "height": [70, 72, 65, 66, 65, 69, 73, 64, 63],
            "income": [50000, 100000, 120000, 80000, 150000, 120000, 90000, 70000, 110000],
        }
    )
