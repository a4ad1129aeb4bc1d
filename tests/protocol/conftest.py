"""Hypothesis as CI wants it: the same examples each time, bounded, and no clock."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    max_examples=100,
    database=None,
    suppress_health_check=(HealthCheck.too_slow,),
)
settings.load_profile("ci")
