"""Faults of the source: broken streams, wrong answers, death."""

from __future__ import annotations

import time

from chaos.scene import Kind, MissedError, Scene
from chaos.web import Answer, Order, Stream

# Over the engine's limit for one line, 4 MiB.
ENDLESS = 5 << 20
REDIRECTS = 11
# Longer than the engine waits for a byte, 30 s.
SILENT_SECONDS = 45.0
ASKED_AGAIN_SECONDS = 60.0

GONE = r"(INFO|WARNING).*source: .*trying again in"
# The run's deadline may come before its patience ends; the next run asks anew.
SILENT = r"WARNING.*no byte for 30|INFO.*run ended \(deadline\)"
REFUSED = r"ERROR.*failed for good: SourceRejectedError"


def _cut(scene: Scene) -> None:
    cleanly = bool(scene.entry.variant % 2)
    scene.order(lambda stream, data: stream.cut_in_line(data, cleanly=cleanly))
    scene.over()
    scene.await_fresh()


def _answer(scene: Scene, *answers: Answer) -> None:
    """Cut the stream and answer the next requests like this."""
    web = scene.world.web
    answered = web.answered + len(answers)

    def work(stream: Stream, data: bytes) -> None:
        # Not before: a run that begins just now would be answered before anything struck.
        web.answer(*answers)
        stream.cut_in_line(data, cleanly=False)

    scene.order(work)
    if not web.await_answered(answered, ASKED_AGAIN_SECONDS):
        web.withdraw()
        raise MissedError("nobody asked again")
    scene.over()
    scene.await_fresh()


def _unavailable(scene: Scene) -> None:
    _answer(scene, *[Answer(503)] * (1 + scene.entry.variant % 2))


def _too_many(scene: Scene) -> None:
    seconds = 1 + scene.entry.variant % 3
    _answer(scene, Answer(429, (("Retry-After", str(seconds)),)))
    if scene.fresh_at - scene.over_at < seconds:
        scene.offences.append(f"the source was asked again before Retry-After: {seconds}")


def _not_found(scene: Scene) -> None:
    _answer(scene, Answer(404, (("Content-Type", "application/json"),), b"{}"))


def _wrong_type(scene: Scene) -> None:
    _answer(scene, Answer(200, (("Content-Type", "application/json"),), b'{"events":[]}'))


def _page(scene: Scene) -> None:
    page = b"<!doctype html><title>Log in</title><p>data: please</p>\n\n"
    _answer(scene, Answer(200, (("Content-Type", "text/html; charset=utf-8"),), page))


def _redirect(scene: Scene) -> None:
    _answer(scene, *[Answer(302, (("Location", "/stream"),))] * REDIRECTS)


def _endless(scene: Scene) -> None:
    """Odd: the line ends after all and the stream goes on. Even: it breaks off."""
    ends = bool(scene.entry.variant % 2)
    mark = f"endless line {scene.entry.number} "
    line = f"data: {mark}".encode() + b"x" * ENDLESS

    def work(stream: Stream, data: bytes) -> None:
        if not stream.insert(data, line + b"\n\n" * ends, goes_on=ends):
            scene.world.web.give(Order(work, scene.struck))

    scene.order(work)
    scene.over()
    if ends:
        scene.letters.append(mark)
        if not scene.await_line("too_large"):
            scene.offences.append(f"no dead letter for {mark}")
    else:
        scene.await_fresh()


def _drip(scene: Scene) -> None:
    def work(stream: Stream, data: bytes) -> None:
        stream.drip(data, scene.entry.seconds)
        scene.over()

    scene.order(work)
    time.sleep(scene.entry.seconds + 0.5)


def _silence(scene: Scene) -> None:
    def work(stream: Stream, data: bytes) -> None:
        stream.fall_silent(SILENT_SECONDS)

    scene.order(work)
    scene.over()
    scene.await_fresh()
    scene.over_at = 0.0


def _kill(scene: Scene) -> None:
    scene.struck()
    scene.world.source.kill()
    time.sleep(scene.entry.seconds)
    scene.world.source.start()
    scene.over()
    scene.await_fresh()


KINDS = [
    Kind("stream cut in a line", _cut, GONE, 3),
    Kind("HTTP 503", _unavailable, r"WARNING.*http status 503.*trying again", 1),
    Kind("HTTP 429 with Retry-After", _too_many, r"WARNING.*http status 429.*trying again", 1),
    Kind("HTTP 404", _not_found, REFUSED + ".*404", 1),
    Kind("wrong content type", _wrong_type, REFUSED + ".*application/json", 1),
    Kind("HTML page", _page, REFUSED + ".*text/html", 1),
    Kind("redirect loop", _redirect, REFUSED + ".*redirected more than", 1),
    Kind("endless line", _endless, f"too_large|{GONE}", 1),
    Kind("slow drip", _drip, r"INFO.*events committed", 1, seconds=(2, 5)),
    Kind("silence without closing", _silence, SILENT, 0, slow=True),
    Kind("source killed", _kill, GONE, 2, seconds=(0.2, 2)),
]
