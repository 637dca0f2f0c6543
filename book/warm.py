"""Python that is warm: `python book/warm.py -m MODULE ...` or `-c CODE` is `python` with these words, less imports.

Kernels, trainings, executions and workers of pytest, some eighty programs a build, import the same packages for eight
seconds of a core each. `python -m book warm PROGRAM ...` imports them once, before any thread starts, then starts the
program, such as make, and forks for whatever is called below it through this file, as every kernel python3 is
(book/kernels). Without it, all start as usual.
"""

import os
import runpy
import signal
import sys
import threading
from importlib import import_module
from multiprocessing import active_children, connection, get_context, reduction
from pathlib import Path

DOOR = "GANSEG_WARM"  # names the server's socket
PACKAGES = """torch torchvision.models.segmentation lightning_fabric safetensors.torch cv2 pydantic typer rich.progress
yaml papermill.execute ipykernel.kernelapp sphinx.application sklearn.cluster sklearn.decomposition sklearn.metrics
scipy.stats pandas matplotlib.figure seaborn""".split()
IMPORTED_WITH = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}  # as kernels are


def run(words: list[str]) -> None:
    """Be Python with these words, `-m MODULE ...` or `-u -c CODE`."""
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threads = os.environ.get("OMP_NUM_THREADS", "")
    sys.modules["torch"].set_num_threads(int(threads) if threads.isdigit() else os.cpu_count())
    sys.argv = words[1:]
    if words[0] == "-m":
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        exec(words[-1], {"__name__": "__main__"})


def answer(client: connection.Connection) -> None:
    """Be the program that `client` asks for, in its place, and for as long as it lives; tell it the exit status."""
    (words, folder, environment), status = client.recv(), 1
    for stream in range(3):
        os.dup2(reduction.recv_handle(client), stream)
    sys.stdin, sys.stdout, sys.stderr = (open(n, "w" if n else "r", 1, closefd=False) for n in range(3))  # noqa: SIM115
    os.setsid()  # signals come by way of the client
    client.send(os.getpid())
    client.recv()  # it hands signals on now
    threading.Thread(target=lambda: client.poll(None) and os.kill(os.getpid(), signal.SIGKILL), daemon=True).start()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    try:
        run(words)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    finally:
        client.send(status)


def serve(words: list[str]) -> None:
    """Run a program, and what it asks for in forks of this process, which has imported what that needs.

    It exits as the program does; none of them is left.
    """
    if sys.platform != "linux":  # a fork may crash
        os.execvp(words[0], words)
    usual, fork = dict(os.environ), get_context("fork").Process
    os.environ.update(IMPORTED_WITH)
    for name in PACKAGES:
        import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("book", "ganseg")]:
        sys.modules.pop(name)  # they are as they are when they are asked for
    with connection.Listener(family="AF_UNIX", backlog=64) as door:
        os.environ.clear()
        os.environ.update(usual | {DOOR: door.address, "JUPYTER_PATH": str(Path(__file__).parent)})
        first = fork(target=os.execvp, args=(words[0], words))
        first.start()
        ended = lambda *_: first.exitcode is None or sys.exit(first.exitcode)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the program ends, then this
        signal.signal(signal.SIGTERM, lambda *_: first.terminate())
        try:
            signal.signal(signal.SIGCHLD, ended)
            ended()  # it may have, before anybody listened
            while True:
                with door.accept() as client:
                    fork(target=answer, args=(client,)).start()
        finally:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for program in active_children():
                program.kill()


def ask(words: list[str]) -> int:
    """Have the server run these words in this program's stead; the exit status."""
    with connection.Client(os.environ[DOOR]) as server:
        server.send((words, os.getcwd(), dict(os.environ)))
        for stream in range(3):
            reduction.send_handle(server, stream, None)
        program = server.recv()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: os.kill(program, number))
        server.send("ready")
        status = server.recv()
        server.poll(None)  # until it has ended
        return status


if __name__ == "__main__":
    if not os.path.exists(os.environ.get(DOOR, "")):
        os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
    try:
        sys.exit(ask(sys.argv[1:]))
    except EOFError:
        sys.exit(f"error: python {' '.join(sys.argv[1:])} was killed")
