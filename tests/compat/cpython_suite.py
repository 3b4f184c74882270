"""A program for `peer-relay run`: runs tests of CPython's own, named on the command line, and prints what came of each.

Not a test module of ours. The last line on stdout is JSON.
"""

from __future__ import annotations

import json
import sys
import unittest
from collections.abc import Iterator


class Outcomes(unittest.TestResult):
    """What came of each test, by id."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, str] = {}

    def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802 - unittest's names
        self.seen.setdefault(test.id(), "ok")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802
        self.seen[test.id()] = f"skipped: {reason}"

    def addFailure(self, test: unittest.TestCase, err: object) -> None:  # noqa: N802
        self.seen[test.id()] = self._exc_info_to_string(err, test)  # type: ignore[attr-defined]  # unittest's own helper

    addError = addFailure  # type: ignore[assignment]  # noqa: N815

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: object) -> None:  # noqa: N802
        if err is not None:
            self.addFailure(test, err)


def each(suite: unittest.TestSuite | unittest.TestCase) -> Iterator[unittest.TestCase]:
    """Walk the tests of a suite."""
    if isinstance(suite, unittest.TestSuite):
        for part in suite:
            yield from each(part)
    else:
        yield suite


def main() -> None:
    """Run and report."""
    outcomes = Outcomes()
    unittest.TestSuite(each(unittest.defaultTestLoader.loadTestsFromNames(sys.argv[1:]))).run(outcomes)
    print("\n" + json.dumps(outcomes.seen))


if __name__ == "__main__":
    main()
