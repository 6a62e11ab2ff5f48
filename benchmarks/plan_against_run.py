"""What plan_rdms foretells against what get_rdms takes, and what it foretells for 1,000 images."""

import sys
import tempfile
import time
from pathlib import Path

from _photographs import write_photographs
from _ratios import state

import pytorch_feature_analysis as pfa

NETWORKS = ["resnet50", "vgg19"]
METRICS = ["corr", "euclidean_distance"]


HELD: list[bool] = []


def claim(*args, **kwargs) -> None:
    """State a claim, and go on to the next."""
    HELD.append(state(*args, stop=False, **kwargs))


def one_set(paths: list[Path]) -> list:
    return [({"set": "all"}, {(path.stem,): path for path in paths}, ("image",), [])]


def main() -> None:
    models = pfa.prepare_models({name: (name, "random") for name in NETWORKS})
    with tempfile.TemporaryDirectory() as folder:
        paths = write_photographs(Path(folder), 1000)
        for name in NETWORKS:
            asked = one_set(paths[:64]), {name: models[name]}
            foretold = pfa.plan_rdms(*asked, dissim_metrics=METRICS).iloc[0]["seconds"]
            start = time.perf_counter()
            pfa.get_rdms(*asked, dissim_metrics=METRICS, progress=False)
            taken = time.perf_counter() - start
            claim(
                f"plan_rdms, {name}, 64 images, foretold against taken, whichever is more",
                max(foretold / taken, taken / foretold),
                2,
                at_most=True,
                detail=f"foretold {foretold:.1f} s, taken {taken:.1f} s",
            )
        plan = pfa.plan_rdms(one_set(paths), models, dissim_metrics=METRICS, memory_budget="4GB")
    print("foretold for 1,000 images within 4 GB:")
    print(plan.set_index("model").T.to_string())


if __name__ == "__main__":
    main()
    sys.exit(not all(HELD))
