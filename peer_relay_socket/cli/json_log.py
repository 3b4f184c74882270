"""Log lines as JSON objects, for collectors. Lives here: the format. May not live here: what is logged."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from ..config import peer_config
from ..errors import ConfigError
from .arguments import Arguments


class JsonFormatter(logging.Formatter):
    """One object a record: `time` (ISO 8601, UTC), `level`, `message`, and `error` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object as one line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.exc_info is not None:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_as_json(parser: Arguments) -> None:
    """Log to stderr as JSON, from the level that PEER_RELAY_LOG says, else from info; exit where it says nonsense."""
    try:
        level = peer_config().log
    except ConfigError as error:
        parser.refuse(error)
    logger = logging.getLogger("peer_relay")
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if level is None else level)
    logger.propagate = False
