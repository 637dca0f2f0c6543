"""`python -m book warm`: programs and kernels that fork from a process which has imported their packages."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, WARM
from test_notebooks import write

from book import execute

FIRST = "import json, os\nprint(json.dumps(dict(os.environ)), flush=True)\nos.read(0, 1)"
PROGRAM = """
import os, signal, sys, time
from ganseg.progress import follow
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))  # as a training does, which saves first
sys.stderr.reconfigure(errors="backslashreplace")  # as the command line does; the server's was a file
try:
    print(*sys.argv[1:], os.getcwd(), os.environ["GIVEN"], "torch" in sys.modules, os.getpid(), flush=True)
    time.sleep(60 * ("wait" in sys.argv))
    for _ in follow(range(20), desc="a job", unit=" steps", mininterval=0) if "long" in sys.argv else ():
        time.sleep(0.01)
except KeyboardInterrupt:
    sys.exit(4)
sys.exit("no" if "fail" in sys.argv else 3)
"""
KERNEL = """
import sys
print("torch" in sys.modules)
from matplotlib import pyplot
from ganseg import progress
print(progress.bar_of_place() is progress.tqdm_notebook)
pyplot.plot([1, 2])
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of what runs below a server, which is a program here; below `make book` it is a module."""
    if sys.platform != "linux":
        pytest.skip("programs start as usual: a fork is not safe here")
    folder = tmp_path_factory.mktemp("served")
    (folder / "program.py").write_text(PROGRAM)
    (folder / "first.py").write_text(FIRST)
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    command = [*WARM, "book", "warm", sys.executable, str(folder / "first.py")]  # below a server it is one in turn
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": (folder / "log").open("w")}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **streams) as server:
        below = json.loads(server.stdout.readline())
        yield below
        left = program(below, "wait")
        left.stdout.readline()
        server.terminate()
        assert server.wait(60) == 256 - signal.SIGTERM and left.wait(60)


def program(environment: dict[str, str], *words: str, folder: Path = ROOT) -> subprocess.Popen[str]:
    """The program, called by way of book/warm.py."""
    command = [*WARM, "program", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment | {"GIVEN": "7"}, **pipes)


def test_a_program_finds_its_packages_imported_and_keeps_words_folder_environment_streams_and_exit_status(
    served: dict[str, str], tmp_path: Path
) -> None:
    usual = {name: value for name, value in served.items() if name != "GANSEG_WARM"}
    for environment, warm in ((served, True), (usual, False)):  # without a server it starts as usual
        one = program(environment, "a b", folder=tmp_path)
        assert one.communicate()[0].startswith(f"a b {tmp_path} 7 {warm} ") and one.returncode == 3
    other = program(served, "fail")
    assert other.communicate()[1] == "no\n" and other.returncode == 1


def test_a_program_that_ends_before_the_first_one_starts_does_not_end_the_server() -> None:
    code = """
import os, signal
from book import warm
warm.PACKAGES, usual = ["json"], signal.signal
signal.signal = lambda number, do: (usual(number, do), callable(do) and os.kill(os.getpid(), signal.SIGCHLD))
warm.serve(["/bin/sh", "-c", "exit 7"])
"""
    known = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=known).returncode == 7


def test_a_program_tells_how_far_it_is_in_lines_as_in_any_log(served: dict[str, str]) -> None:
    out, lines = program(served, "long").communicate()
    assert out.count("\n") == 1 and re.findall(r"a job: (\d+) %", lines) == [str(n) for n in range(10, 101, 10)]


def test_code_runs_as_python_runs_it(served: dict[str, str]) -> None:
    command = [*WARM[:2], "-u", "-c", "import sys; print('torch' in sys.modules)"]
    for environment, warm in ((served, True), (dict(os.environ, GANSEG_WARM=""), False)):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert (done.stdout, done.returncode) == (f"{warm}\n", 0), done.stderr


def test_signals_reach_the_program_and_it_dies_with_who_asked_for_it(served: dict[str, str]) -> None:
    interrupted, stopped, killed = (program(served, "wait") for _ in range(3))
    numbers = [int(one.stdout.readline().split()[-1]) for one in (interrupted, stopped, killed)]
    assert interrupted.pid != numbers[0]
    interrupted.send_signal(signal.SIGINT)
    stopped.terminate()
    assert (interrupted.wait(60), stopped.wait(60)) == (4, 5)
    killed.kill()
    killed.communicate(timeout=60)  # the program held the pipes open until it was gone


def test_a_kernel_is_the_usual_one_but_finds_its_packages_imported(served, tmp_path, monkeypatch):
    for name in ("GANSEG_WARM", "JUPYTER_PATH"):
        monkeypatch.setenv(name, served[name])
    cells = execute.execute(write(tmp_path / "a.ipynb", KERNEL), tmp_path / "b.ipynb").cells
    assert cells[2].outputs[0].text == "True\nTrue\n"
    assert "image/png" in cells[2].outputs[-1].data
