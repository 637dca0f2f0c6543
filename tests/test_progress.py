"""What a log says of a long computation: whole lines, a tenth each, however many jobs write into it."""

import io
import re

from ganseg.progress import follow

LINE = r"a job: (\d+) % of 1000 steps, \S+ steps/s, 00:0\d left"


def test_a_log_has_a_line_every_tenth_with_rate_and_time_left_and_nothing_is_drawn_over() -> None:
    log = io.StringIO()
    assert sum(1 for _ in follow(range(1000), desc="a job", unit=" steps", mininterval=0, miniters=1, file=log)) == 1000
    found = [re.fullmatch(LINE, line) for line in log.getvalue().splitlines()]
    assert all(found) and [int(line[1]) for line in found] == list(range(10, 101, 10))
    assert "\r" not in log.getvalue() and log.getvalue().endswith("\n")


def test_what_is_resumed_is_told_from_there_and_what_is_stopped_is_not_called_finished() -> None:
    log = io.StringIO()
    options = {"total": 100, "initial": 35, "unit": " steps", "desc": "a job", "mininterval": 0, "miniters": 1}
    for step in follow(range(35, 100), file=log, **options):
        if step == 70:
            break
    assert re.findall(r": (\d+) %", log.getvalue()) == ["35", "40", "50", "60", "70"]


def test_what_is_done_at_once_and_what_is_silent_say_nothing() -> None:
    log = io.StringIO()
    assert list(follow(range(5), unit=" images", delay=5.0, file=log)) == list(range(5))
    assert list(follow(range(5), disable=True, mininterval=0, file=log)) == list(range(5))
    assert not log.getvalue()
