"""The demo's command line: `python -m demo up|smoke|clean`; make calls it."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from contextlib import suppress
from types import FrameType

from demo.live import LiveLine
from demo.processes import ProcessError
from demo.settings import ADMIN, Settings, SettingsError
from demo.stack import Stack, StageError, exclusive


def up(settings: Settings) -> int:
    """Start everything, show the live line, stop on Ctrl-C; return the exit code."""
    with exclusive(settings):
        stack = Stack(settings)
        code = 0
        try:
            print("starting (Ctrl-C stops everything)", flush=True)
            stack.up()
            print(_welcome(stack), flush=True)
            _watch(stack)
        except KeyboardInterrupt:
            print("\nstopping; Ctrl-C again kills", flush=True)
        except StageError as error:
            print(f"\nerror: {error}\nstopping what was started", file=sys.stderr, flush=True)
            code = 1
        return stop(stack) or code


def stop(stack: Stack) -> int:
    """Stop the stack, at once at a second Ctrl-C; return the exit code."""
    try:
        stack.down()
    except KeyboardInterrupt:
        stack.kill()
        print("killed", flush=True)
        return 130
    print("stopped", flush=True)
    return 0


def clean(settings: Settings) -> int:
    """Remove the state of the demo and of the smoke test; the user's own server stays as it is."""
    for one in (settings, Settings.for_smoke()):
        if one.state.exists():
            with exclusive(one):
                Stack(one).remove()
            print(f"removed {one.state}")
    return 0


def _watch(stack: Stack) -> None:
    live = LiveLine(stack.settings, stack.databases)
    try:
        while True:
            stack.check()
            live.show()
            time.sleep(live.every_seconds)
    finally:
        live.close()


def _welcome(stack: Stack) -> str:
    settings = stack.settings
    # The password stays in its file: terminals get copied and recorded.
    database = stack.databases.without_password("analytics_reader")
    return f"""
  live page    {settings.metrics_url}
  Airflow      {settings.web_url}   login {ADMIN}, password {settings.secrets[ADMIN]}
  generator    {settings.api_url}/docs
  database     psql {database}
               password: analytics_reader in {settings.state / "secrets.json"}
  logs         {settings.logs}
"""


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start everything and stay until Ctrl-C")
    commands.add_parser("smoke", help="start a stack of its own, compare every row, stop")
    commands.add_parser("clean", help="remove the state of both")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    # Under nohup it stays ignored: the user wants the demo to outlive the terminal.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _interrupt)
    try:
        if options.command == "smoke":
            # Its imports would cost every other command a moment.
            from demo.smoke import smoke

            return smoke(Settings.for_smoke())
        settings = Settings.for_demo()
        return up(settings) if options.command == "up" else clean(settings)
    except (StageError, SettingsError, ProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        sys.exit(main())
