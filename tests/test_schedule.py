"""Learning rates, step by step, as PyTorch's schedulers give them, and the functions that they are made of."""

import math
from dataclasses import replace

import pytest

from distcnn.config.settings import Config
from distcnn.numerics import portable_math
from distcnn.training.schedule import learning_rate

LENGTH = 7  # steps an epoch
PLAIN = Config(epochs=10, learning_rate=0.3, warmup_epochs=0.0)


def course(config):
    return [learning_rate(config, step, LENGTH) for step in range(config.epochs * LENGTH)]


def theirs(make):
    """Return what a scheduler of PyTorch, make(schedulers, optimizer), gives over the same steps."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3, momentum=0.9)
    scheduler, rates = make(torch.optim.lr_scheduler, optimizer), []
    for _ in range(10 * LENGTH):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


TOTAL = 10 * LENGTH
CASES = {
    "cosine": (
        {"schedule": "cosine", "final_lr_fraction": 0.1},
        lambda kinds, of: kinds.CosineAnnealingLR(of, TOTAL, eta_min=0.03),
    ),
    "step": (
        {"schedule": "step", "step_size": 3, "gamma": 0.2},
        lambda kinds, of: kinds.StepLR(of, 3 * LENGTH, gamma=0.2),
    ),
    "steps": (
        {"schedule": "step", "milestones": (2, 7)},
        lambda kinds, of: kinds.MultiStepLR(of, [2 * LENGTH, 7 * LENGTH]),
    ),
    "polynomial": (
        {"schedule": "polynomial", "power": 2.5},
        lambda kinds, of: kinds.PolynomialLR(of, TOTAL, power=2.5),
    ),
    "linear": ({"schedule": "polynomial"}, lambda kinds, of: kinds.LinearLR(of, 1.0, 0.0, TOTAL)),
    "one-cycle": (
        {"schedule": "one-cycle", "warmup_epochs": 3.0, "final_lr_fraction": 0.001},
        lambda kinds, of: kinds.OneCycleLR(of, 0.3, TOTAL, pct_start=0.3, div_factor=25, final_div_factor=40),
    ),
}


@pytest.mark.parametrize(("changes", "make"), CASES.values(), ids=CASES)
def test_as_pytorch(changes, make):
    assert course(replace(PLAIN, **changes)) == pytest.approx(theirs(make), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "polynomial", "step"])
def test_warm_up_is_linear_and_in_epochs(schedule):
    config = replace(PLAIN, schedule=schedule, warmup_epochs=2.5, step_size=9)
    rates = course(config)
    assert rates[:17] == [0.3 * min(1.0, (step + 1) / 17.5) for step in range(17)]
    assert rates[18] == pytest.approx(0.3, rel=0.02)
    assert max(rates) <= 0.3


def test_drops_are_counted_from_the_first_epoch():
    rates = course(replace(PLAIN, schedule="step", milestones=(4,), warmup_epochs=2.0))
    assert rates[4 * LENGTH - 1] == 0.3
    assert rates[4 * LENGTH] == pytest.approx(0.03)


@pytest.mark.parametrize("warmup", [0.0, 0.1, 1.0, 9.9])
def test_one_cycle_has_its_peak_wherever_the_rise_ends(warmup):
    rates = course(replace(PLAIN, schedule="one-cycle", warmup_epochs=warmup))
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(0.3, rel=1e-4)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 1e-9


@pytest.mark.parametrize("x", [5e-324, 1e-300, 0.3, 0.70710678, 1.0 - 2**-53, 1.0, 1.0 + 2**-52, 7.5, 1e308])
def test_log_of_one_number(x):
    assert portable_math.log(x) == pytest.approx(math.log(x), rel=1e-15, abs=1e-300)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.5, 40.0, 1e6])
@pytest.mark.parametrize("x", [0.0, 1e-9, 0.3, 0.999999, 1.0])
def test_powers(x, exponent):
    assert portable_math.power(x, exponent) == pytest.approx(x**exponent, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("exponent", [0, 1, 2, 7, 1000])
def test_whole_powers(exponent):
    assert portable_math.whole_power(0.97, exponent) == pytest.approx(0.97**exponent, rel=1e-13)
