"""A variant's process: opens what it is told, then runs a round for each line it reads.

It runs in environments that know nothing of this repository, hence as a script: its folder is where the
variants' modules are found. Whatever libraries print goes to stderr; stdout carries one line of JSON for
each answer.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
import traceback
from importlib import metadata
from typing import Any


def main(target: str, options: dict[str, Any]) -> int:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(**content: Any) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    try:
        module, _, name = target.partition(":")
        with getattr(importlib.import_module(module), name)(**options) as run:
            answer(ready=True, versions=versions(), python=sys.version.split()[0])
            for line in sys.stdin:
                gc.collect()  # of this round's garbage none was made before it
                answer(figures=figures(run, json.loads(line)["operations"]))
    except BaseException:  # whatever it is, whoever waits has to know
        answer(error=traceback.format_exc())
        return 1
    return 0


def figures(run: Any, operations: int) -> dict[str, float]:
    """One round: what `run` answers are seconds, to be shared out, or several figures by name."""
    began = time.perf_counter()
    found = run(operations)
    named = found if isinstance(found, dict) else {"seconds": found / operations}
    return {**named, "took": time.perf_counter() - began}


def versions() -> dict[str, str]:
    """What is installed here."""
    return {
        distribution.metadata["Name"].lower().replace("_", "-"): distribution.version
        for distribution in metadata.distributions()
        if distribution.metadata["Name"]
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], json.loads(sys.argv[2])))
