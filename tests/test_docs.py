"""The pages say what holds a promise: what they name has to be there."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"

_NAMED = re.compile(r"`((?:[a-z_]+/)*(?:test_[a-z_]+\.py)?)(?:::(test_\w+))?`")


def test_every_test_that_the_threat_model_names_is_there() -> None:
    """A promise whose test was renamed away is held by nothing."""
    named = [found.groups() for found in _NAMED.finditer((DOCS / "security.md").read_text()) if found[1]]
    assert len(named) > 40
    for place, test in named:
        assert (TESTS / place).exists(), place
        assert not test or f"def {test}(" in (TESTS / place).read_text(), f"{place}::{test}"
