"""Command lines and how they are refused. Lives here: the argument parser all commands share. May not live here:
what any command does.

Law: bad input gets one line on stderr and exit status 2, never a traceback.
"""

from __future__ import annotations

import argparse
from typing import NoReturn


class Arguments(argparse.ArgumentParser):
    """An argument parser whose refusals are one line long."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2 after one line on stderr."""
        self.exit(2, f"{self.prog}: {' '.join(message.split())}\n")

    def refuse(self, error: Exception) -> NoReturn:
        """Exit as `error` does, saying what an OSError or ConfigError says."""
        self.error(describe(error))


def describe(error: Exception) -> str:
    """Return what `error` says without its errno, a file name first."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__
