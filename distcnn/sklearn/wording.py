"""How estimators write settings in messages: as their own parameters, or as keys of `settings`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from distcnn.config.types import CLASSIFY, MULTILABEL, REGRESS
from distcnn.job.wording import WITHOUT_VALUE, Wording, as_keyword

ESTIMATORS = {CLASSIFY: "CNNClassifier", MULTILABEL: "CNNClassifier", REGRESS: "CNNRegressor"}  # by task
PARAMETERS = {"seed": "random_state", "progress": "verbose", "data": "X"}  # with names of scikit-learn's


def as_parameter(parameters: Collection[str]) -> Wording:
    """Return how an estimator with some parameters writes settings: epochs=3, settings={'patience': 2}."""

    def say(name: str, values: Sequence[str]) -> str:
        if name == "task":
            known = [ESTIMATORS[each.strip("'")] for each in values if each.strip("'") in ESTIMATORS]
            return " or ".join(dict.fromkeys(known or ESTIMATORS.values()))
        if name in parameters:
            return as_keyword(name, values)
        if name in PARAMETERS:
            return PARAMETERS[name]
        key = name if values else WITHOUT_VALUE.get(name, name)
        return f"settings={{{key!r}: {' or '.join(values) or '...'}}}"

    return say
