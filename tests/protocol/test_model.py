"""The resume rules against a hostile wire, found by hypothesis and by many seeded walks."""

from __future__ import annotations

import random

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge_tunnel.protocol.tunnel import RESUME_TIMEOUT
from tests.protocol.model import Model

SIZES = (1, 3, 50, 900, 5000, 70_000)
WINDOWS = (60, 1000, 100_000)

sides = st.integers(0, 1)
picks = st.integers(0, 5)
counts = st.sampled_from((1, 2, 5, 50))
sizes = st.sampled_from(SIZES)


def walk(seed: int, steps: int, *, sealed: bool = False) -> None:
    """A random story; most of it is traffic, as hypothesis' stories seldom are."""
    rng = random.Random(seed)
    model = Model(window=rng.choice(WINDOWS), sealed=sealed)
    quiet = rng.random() < 0.5  # half of the stories end every stream by themselves
    for _ in range(steps):
        side, pick, count = rng.randrange(2), rng.randrange(6), rng.choice((1, 2, 5, 50))
        dice = rng.random()
        if dice < 0.08:
            model.open()
        elif dice < 0.12:
            model.accept(pick)
        elif dice < 0.32:
            model.write(side, pick, rng.choice(SIZES))
        elif dice < 0.50:
            model.read(side, pick, rng.choice(SIZES))
        elif dice < 0.54:
            model.end(side, pick)
        elif dice < 0.56:
            model.stop(side, pick)
        elif dice < 0.58 and not quiet:
            model.reset(side, pick)
        elif dice < 0.80:
            model.move(rng.choice((0, 0, 0, 1, 2)), side, count)
        elif dice < 0.84:
            model.pump(0, side, count)
        elif dice < 0.89:
            model.attach(rng.choice((None, None, 0)))
        elif dice < 0.92:
            model.cut(side, rng.randrange(6))
        elif dice < 0.95:
            model.notice(side)
        elif dice < 0.96:
            model.play_again(0)
        elif dice < 0.97:
            model.attack(pick)
        elif dice < 0.9995 or quiet:
            model.sleep(rng.choice((0.001, 0.01, 0.05, 0.3, 2.0)))
        elif dice < 0.9998:
            model.close(side)
        else:
            model.sleep(RESUME_TIMEOUT + 1)
        model.check()
    model.finish(new_path=rng.random() < 0.5, read_early=rng.random() < 0.5)


@pytest.mark.parametrize("block", range(10))
def test_random_stories_lose_nothing(block: int) -> None:
    """Cuts, delays, late frames and attaches in any order: every byte once, nothing left."""
    for seed in range(block * 40, block * 40 + 40):
        walk(seed, 150)


@pytest.mark.parametrize("block", range(5))
def test_sealed_stories_lose_nothing(block: int) -> None:
    """The same with end-to-end encryption; conftest sees that no nonce is used twice."""
    for seed in range(1000 + block * 30, 1000 + block * 30 + 30):
        walk(seed, 150, sealed=True)


class Machine(RuleBasedStateMachine):
    """Every verb of the model is a rule."""

    model: Model | None = None

    @initialize(window=st.sampled_from(WINDOWS), sealed=st.booleans())
    def begin(self, window: int, sealed: bool) -> None:
        self.model = Model(window=window, sealed=sealed)

    @property
    def _model(self) -> Model:
        assert self.model is not None
        return self.model

    @rule()
    def open(self) -> None:
        self._model.open()

    @rule(pick=picks)
    def accept(self, pick: int) -> None:
        self._model.accept(pick)

    @rule(side=sides, pick=picks, size=sizes)
    def write(self, side: int, pick: int, size: int) -> None:
        self._model.write(side, pick, size)

    @rule(side=sides, pick=picks, size=sizes)
    def read(self, side: int, pick: int, size: int) -> None:
        self._model.read(side, pick, size)

    @rule(side=sides, pick=picks)
    def end(self, side: int, pick: int) -> None:
        self._model.end(side, pick)

    @rule(side=sides, pick=picks)
    def stop(self, side: int, pick: int) -> None:
        self._model.stop(side, pick)

    @rule(side=sides, pick=picks)
    def reset(self, side: int, pick: int) -> None:
        self._model.reset(side, pick)

    @rule(pick=st.integers(0, 2), way=sides, count=counts)
    def move(self, pick: int, way: int, count: int) -> None:
        self._model.move(pick, way, count)

    @rule(pick=st.integers(0, 2), way=sides, count=counts)
    def pump(self, pick: int, way: int, count: int) -> None:
        self._model.pump(pick, way, count)

    @rule(pick=st.none() | st.integers(0, 1))
    def attach(self, pick: int | None) -> None:
        self._model.attach(pick)

    @rule(way=sides, keep=st.integers(0, 5))
    def cut(self, way: int, keep: int) -> None:
        self._model.cut(way, keep)

    @rule(side=sides)
    def notice(self, side: int) -> None:
        self._model.notice(side)

    @rule()
    def play_again(self) -> None:
        self._model.play_again(0)

    @rule(kind=st.integers(0, 5))
    def attack(self, kind: int) -> None:
        self._model.attack(kind)

    @rule(seconds=st.sampled_from((0.001, 0.01, 0.05, 0.3, 2.0)))
    def sleep(self, seconds: float) -> None:
        self._model.sleep(seconds)

    @precondition(lambda self: not self._model.slept)
    @rule()
    def sleep_long(self) -> None:
        self._model.sleep(RESUME_TIMEOUT + 1)

    @invariant()
    def holds(self) -> None:
        if self.model is not None:
            self.model.check()

    def teardown(self) -> None:
        if self.model is not None:
            count = len(self.model.pair.paths)
            self.model.finish(new_path=count % 2 == 0, read_early=count % 3 == 0)


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestMachine = Machine.TestCase
