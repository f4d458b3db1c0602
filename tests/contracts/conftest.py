"""Failures of a contract tell what was compared, as those of test modules do."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("contracts.checkpoint")
