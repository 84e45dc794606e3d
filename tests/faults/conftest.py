"""A deployment for each test that asks, and the seed of its chances."""

import os
import random
from collections.abc import Callable, Iterator

import pytest

from tests.faults.deployment import Deployment

SEED = "STRONGROOM_TEST_SEED"

MakeDeployment = Callable[..., Deployment]


@pytest.fixture
def deploy(request: pytest.FixtureRequest) -> Iterator[MakeDeployment]:
    """Start a deployment with this gateway deadline; everything ends with the test."""
    made: list[Deployment] = []

    def make(*, deadline_seconds: float = 1.0) -> Deployment:
        deployment = Deployment(deadline_seconds=deadline_seconds)
        made.append(deployment)
        print(f"\nstarted in {deployment.start():.1f} s")
        return deployment

    try:
        yield make
    finally:
        for deployment in made:
            print(f"\nlogged: {dict(deployment.complaints())}")
            deployment.remove()


@pytest.fixture(autouse=True)
def seed() -> int:
    """The seed of this run's chances; STRONGROOM_TEST_SEED=N repeats one."""
    number = int(os.environ.get(SEED) or random.SystemRandom().randrange(1_000_000))
    print(f"\nseed {number} (repeat with {SEED}={number})")
    random.seed(number)
    return number
