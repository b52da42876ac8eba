"""`python -m stack VERB`: what `make VERB` and `stack.ps1 VERB` call.

STACK=demo or STACK=compose says which stack is meant: by default the one that runs, else demo. The
first line printed names it. Exit code 0: all is well; 1: it is not, and the reason stands there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from stack import embedded, environment
from stack.contract import ROOT, Stack, StackError, is_confirmed

VERBS = {
    "env": "make .env with random secrets",
    "up": "start everything and wait until it is well",
    "ps": "what runs, and where",
    "logs": "follow all logs; BUNDLE=1 writes an archive for support instead",
    "check": "signs of life of every part",
    "trigger": "start a run of the stream's DAG by hand",
    "verify": "counts, freshness, rules, and whether data arrives",
    "smoke": "a scheduled run to its end, then every row compared",
    "rollups": "compare the counted sales with the facts; count anew what is wrong",
    "doctor": "name what disagrees and what repairs it; changes nothing",
    "backup": "write the business database to backups/",
    "restore": "put a backup (FILE=, else the newest) in its place and go on from there",
    "down": "stop everything, keep what is stored",
    "reset": "delete what is stored and start anew; DATA=1: only raw events, which come again",
    "destroy": "stop everything and delete what is stored",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m stack", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, text in VERBS.items():
        verbs.add_parser(verb, help=text)
    verb = parser.parse_args(arguments).verb
    try:
        if verb == "env":
            return _env()
        stack = choose(os.environ)
        print(f"stack: {stack.title}", flush=True)
        return _run(verb, stack)
    except embedded.expected_errors() as error:
        print(f"{verb} failed: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def choose(variables: Mapping[str, str]) -> Stack:
    """Return the stack that is meant; raise StackError where that cannot be known."""
    from stack.compose import Compose

    wanted = variables.get("STACK") or ""
    if wanted not in ("", "demo", "compose"):
        raise StackError(f"STACK is {wanted!r}: it can be demo or compose")
    if not wanted:
        runs = {"demo": embedded.owner() is not None, "compose": Compose().is_running()}
        if all(runs.values()):
            raise StackError("both stacks run: say STACK=demo or STACK=compose")
        wanted = "compose" if runs["compose"] else "demo"
    if wanted == "compose":
        return Compose()
    _enter_virtual_environment()
    return embedded.Embedded()


def _run(verb: str, stack: Stack) -> int:
    from stack import backup, bundle, verbs
    from stack.doctor import doctor

    simple = {"up": stack.up, "ps": stack.show, "down": stack.down}
    if verb in simple:
        simple[verb]()
        return 0
    if verb == "logs":
        return bundle.collect(stack) if os.environ.get("BUNDLE") == "1" else stack.follow_logs()
    if verb == "doctor":
        return doctor(stack)
    if verb == "restore":
        file = os.environ.get("FILE")
        return backup.restore(stack, Path(file).resolve() if file else None)
    if verb in ("reset", "destroy"):
        return _remove(verb, stack)
    if verb == "smoke" and stack.kind == "demo":
        # On a stack of its own, whatever else runs.
        code = subprocess.call(["make", "--no-print-directory", "build"], cwd=ROOT)
        return code or subprocess.call([sys.executable, "-m", "demo", "smoke"], cwd=ROOT)
    looks = {
        "check": verbs.check,
        "trigger": verbs.trigger,
        "verify": verbs.verify,
        "rollups": verbs.rollups,
        "smoke": verbs.smoke,
        "backup": backup.backup,
    }
    return looks[verb](stack)


def _remove(verb: str, stack: Stack) -> int:
    from stack import verbs

    only_raw = verb == "reset" and os.environ.get("DATA") == "1"
    what = "Raw events are removed and read again" if only_raw else "ALL that is stored is deleted"
    if not is_confirmed(f"{what}: {stack.title}."):
        raise StackError("not confirmed; nothing was changed (YES=1 answers yes)")
    if only_raw:
        return verbs.reset_data(stack)
    stack.destroy()
    if verb == "reset":
        stack.up()
        return verbs.check(stack)
    print("destroy: nothing is left but images, .env and backups")
    return 0


def _env() -> int:
    filled = environment.make()
    print(f"{environment.path()}: {len(filled)} secrets made, the rest was there")
    wrong = environment.problems(environment.read(environment.path()))
    if wrong:
        raise StackError("\n".join(wrong))
    return 0


def _enter_virtual_environment() -> None:
    """Go on in the checkout's .venv, which the embedded stack needs; build it where it is missing."""
    python = embedded.PYTHON
    if Path(sys.prefix).resolve() == python.parent.parent.resolve():
        return
    if not python.exists() and subprocess.call(["make", "build"], cwd=ROOT) != 0:
        raise StackError("make build failed")
    sys.stdout.flush()
    os.execv(python, [str(python), "-m", "stack", *sys.argv[1:]])  # noqa: S606 (our own interpreter)


if __name__ == "__main__":
    sys.exit(main())
