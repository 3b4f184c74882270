"""`peer-relay run` beside the interpreter itself: a table of programs, each run by both, compared to the byte."""

from __future__ import annotations

import os
import py_compile
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.processes import environment, killed_at_end, read_line

NATIVE = [sys.executable]
OURS = [sys.executable, "-m", "peer_relay", "run"]

PROGRAMS = {
    "argv": "import sys; print(sys.argv, __name__, __file__, __spec__, __package__, __annotations__, __doc__)",
    "main": "import sys; m = sys.modules['__main__']; print(m.__dict__ is globals(), sorted(n for n in globals()))",
    "path": "import sys; print(sys.path[0]); import beside; print(beside.__file__)",
    "streams": "import sys; print(sys.stdin.read().upper()); print('e', file=sys.stderr); sys.stdout.write('no end')",
    "returns": "pass",
    "exit number": "import sys; sys.exit(3)",
    "exit text": "import sys; sys.exit('text')",
    "exit none": "raise SystemExit",
    "exit deep": "def f():\n import sys; sys.exit(4)\nf()",
    "raises": "def f():\n    raise ValueError('mine')\nf()",
    "raises from": "try:\n    1 / 0\nexcept Exception as e:\n    raise ValueError from e",
    "raises in module": "import beside\nbeside.fail()",
    "import error": "import no_such_thing_at_all",
    "syntax": "x = (\n",
    "indentation": "if 1:\nx",
    "encoding": "# -*- coding: latin-1 -*-\nprint(ascii('\u00e9'))",
    "group": "raise ExceptionGroup('g', [ValueError(1), TypeError(2)])",
    "own excepthook": "import sys\ndef hook(k, e, t):\n    print(k, e, t.tb_frame.f_code.co_name, t.tb_next)\n"
    "sys.excepthook = hook\n1 / 0",
    "no excepthook": "import sys; print(sys.excepthook is sys.__excepthook__)",
    "interrupt": "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(5)",
    "interrupt caught": "import signal\ntry:\n    signal.raise_signal(2)\nexcept KeyboardInterrupt:\n    print('ok')",
    "handlers": "import signal\nprint([signal.getsignal(s) for s in (2, 10, 13, 15)], signal.pthread_sigmask(0, []))",
    "terminated": "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(5)",
    "os._exit": "import os\nprint('lost?', flush=True)\nos._exit(7)",
    "atexit": "import atexit\natexit.register(print, 'first'); atexit.register(print, 'second'); 1 / 0",
    "thread outlives": "import threading, time\nt = 'still here'\ndef f():\n    time.sleep(0.2); print(t)\n"
    "threading.Thread(target=f).start()",
    "thread raises": "import threading\ndef f():\n    1 / 0\nthreading.Thread(target=f, name='T').start()",
    "pickle": "import pickle\nclass C: pass\nprint(type(pickle.loads(pickle.dumps(C()))) is C)",
    "dataclass": "from __future__ import annotations\nimport dataclasses\n"
    "@dataclasses.dataclass\nclass D:\n    x: int = 1\nprint(D())",
    "no future": "def f(x: undefined_name): pass",
    "fork": "import os\npid = os.fork()\nif pid == 0:\n    print('child', flush=True)\n    os._exit(5)\n"
    "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))",
    "subprocess": "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', '1 / 0'], capture_output=True))",
    "unraisable": "class C:\n    def __del__(self):\n        1 / 0\nC()",
    "warning": "import warnings; warnings.warn('mine')",
}


def start(command: list[str], cwd: Path) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, env=environment(), stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def outcome(process: subprocess.Popen[str], stdin: str = "") -> tuple[int, str, str]:
    with process:
        stdout, stderr = process.communicate(stdin, timeout=30)
    # `python -m` shows runpy's frames above the module's; ours has none to show.
    shown = re.sub(r'  File "<frozen (runpy|zipimport)>", line \d+, in \S+\n', "", stderr)
    return process.returncode, stdout, re.sub(r" at 0x[0-9a-f]+", "", shown)


def run(command: list[str], cwd: Path, stdin: str = "") -> tuple[int, str, str]:
    return outcome(start(command, cwd), stdin)


def both(words: list[str], cwd: Path, stdin: str = "") -> list[tuple[int, str, str]]:
    """Run `words` under the interpreter and under ours, at the same time."""
    started = [start([*how, *words], cwd) for how in (NATIVE, OURS)]
    return [outcome(process, stdin) for process in started]


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("def fail():\n    raise LookupError\n")
    package = tmp_path / "package" / "inner"
    package.mkdir(parents=True)
    (tmp_path / "package" / "__init__.py").write_text("import sys; print('package', sys.argv)\n")
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(
        "import sys; from . import part\nprint(sys.argv, __name__, __package__, __spec__.name, __file__, sys.path[0])\n"
    )
    (package / "part.py").write_text("if __name__ == '__main__':\n    print(__name__, __package__)\n    1 / 0\n")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "__init__.py").write_text("import no_such_thing_at_all\n")
    (tmp_path / "broken" / "syntax.py").write_text("x = (\n")
    return tmp_path


@pytest.mark.parametrize("source", PROGRAMS.values(), ids=PROGRAMS)
def test_run_a_script_is_python_script(folder: Path, source: str) -> None:
    (folder / "script.py").write_text(source + "\n", encoding="latin-1")
    words = ["script.py", "--bootstrap", "-m", "x y"]
    native, ours = both(words, folder, stdin="in")
    assert ours == native


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "package.inner", "--identity", "x"],
        ["-mpackage.inner", "-m"],
        ["-m", "package.inner.part"],
        ["-m", "package.inner.__main__"],
        ["-m", "beside"],
        ["-m", "json.tool", "--help"],
    ],
    ids=" ".join,
)
def test_run_a_module_is_python_m_module(folder: Path, words: list[str]) -> None:
    native, ours = both(words, folder, stdin="{}")
    assert ours == native


@pytest.mark.parametrize(
    "words",
    [
        ["-", "a", "-m"],
        ["-c", "import sys; print(sys.argv, __name__, sys.path[0]); import beside; beside.fail()", "-c", "x"],
        ["-cprint(1)"],
        ["-u", "-O", "-W", "error", "-X", "dev", "flags.py", "-u"],
        ["-uOWerror", "-bb", "flags.py"],
        ["-uc", "import sys; print(sys.flags.optimize, sys.argv)", "x"],
        ["-Om", "flags", "x"],
    ],
    ids=lambda words: " ".join(words)[:20],
)
def test_run_takes_the_words_that_python_takes(folder: Path, words: list[str]) -> None:
    (folder / "flags.py").write_text("import sys; print(sys.flags.optimize, sys.warnoptions, sys.argv)\n")
    source = "import sys\nprint(sys.argv, __name__, sys.path[0], sys.stdin.read())\nimport beside\nbeside.fail()\n"
    native, ours = both(words, folder, stdin=source)
    assert without_c_source(ours) == without_c_source(native)


def without_c_source(outcome: tuple[int, str, str]) -> tuple[int, str, str]:
    """Python 3.13 shows the line of a `-c` program in its traceback; ours does not."""
    status, stdout, stderr = outcome
    return status, stdout, re.sub(r'(File "<string>".*\n)(?:    .*\n)+', r"\1", stderr)


def test_run_a_broken_package_shows_its_own_traceback(folder: Path) -> None:
    status, stdout, stderr = run([*OURS, "-m", "broken.syntax"], folder)
    assert (status, stdout) == (1, "")
    assert re.findall(r'File "([^"]+)", line \d+', stderr) == [str(folder / "broken" / "__init__.py")]
    assert stderr.endswith("ModuleNotFoundError: No module named 'no_such_thing_at_all'\n")


@pytest.mark.slow
def test_run_takes_directories_archives_compiled_files_and_links(folder: Path) -> None:
    (folder / "app").mkdir()
    source = "import sys, beside2; print(sys.argv, sys.path[0], __file__, __package__, __spec__.name); 1 / 0\n"
    (folder / "app" / "__main__.py").write_text(source)
    (folder / "app" / "beside2.py").write_text("")
    with zipfile.ZipFile(folder / "app.zip", "w") as archive:
        archive.write(folder / "app" / "__main__.py", "__main__.py")
        archive.write(folder / "app" / "beside2.py", "beside2.py")
    (folder / "plain.py").write_text("import sys; print(sys.argv, sys.path[0], __file__)\n")
    py_compile.compile(str(folder / "plain.py"), str(folder / "plain.pyc"))
    (folder / "links").mkdir()
    (folder / "links" / "link.py").symlink_to(folder / "plain.py")
    for target in ("app", "app.zip", "plain.pyc", "links/link.py", str(folder / "plain.py")):
        native, ours = both([target, "x"], folder)
        assert ours == native, target


def test_sigint_from_outside_ends_a_program_by_signal(folder: Path) -> None:
    (folder / "wait.py").write_text("print('up', flush=True)\nimport signal\nsignal.pause()\n")
    for number in (signal.SIGINT, signal.SIGTERM):
        with killed_at_end(
            subprocess.Popen([*OURS, "wait.py"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        ) as process:
            assert read_line(process.stdout) == "up\n"
            process.send_signal(number)
            assert process.wait(10) == -number


def test_settings_reach_the_program_as_environment(folder: Path) -> None:
    (folder / "env.py").write_text(
        "import os; os.chdir('/'); print({n: v for n, v in os.environ.items() if n[:11] == 'PEER_RELAY_'})\n"
    )
    words = ["--bootstrap", "ws://a.example:1", "--bootstrap=ws://b.example:2", "--identity", "k", "env.py"]
    status, stdout, _ = run([*OURS, *words], folder)
    key = str(folder / "k")
    assert status == 0
    assert eval(stdout) == {
        "PEER_RELAY_BOOTSTRAP": "ws://a.example:1,ws://b.example:2",
        "PEER_RELAY_IDENTITY": key,
        "PEER_RELAY_RUN": "closed",
    }


CHILDREN = """
import multiprocessing, os, subprocess, sys
CODE = '''
import _socket, os, socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    print(sock.peer.id.hex(), "PEER_RELAY_IDENTITY" in os.environ, os.environ.get("HIDDEN"), flush=True)
try:
    _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM).close()
    print("direct", flush=True)
except PermissionError:
    print("refused", flush=True)
'''
def work():
    exec(CODE)
if __name__ == "__main__":
    exec(CODE)
    if sys.argv[1] == "subprocess":
        subprocess.run([sys.executable, "-c", CODE], check=True)
    else:
        worker = multiprocessing.get_context(sys.argv[1]).Process(target=work)
        worker.start()
        worker.join()
"""


@pytest.mark.parametrize("option", [[], ["--allow-direct"]], ids=["closed", "direct"])
@pytest.mark.parametrize("how", ["subprocess", pytest.param("spawn", marks=pytest.mark.slow)])
def test_pythons_that_the_program_starts_are_in_the_network_too(folder: Path, how: str, option: list[str]) -> None:
    (folder / "children.py").write_text(CHILDREN)
    (folder / "hidden").mkdir()
    (folder / "hidden" / "sitecustomize.py").write_text("import os; os.environ['HIDDEN'] = 'seen'\n")
    env = {**os.environ, "PYTHONPATH": str(folder / "hidden")}
    words = [*OURS, *option, "--identity", "k", "children.py", how]
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    parent, first, child, second = done.stdout.splitlines()
    assert parent.split()[1:] == ["True", "seen"]
    assert child.split()[1:] == ["False", "seen"]
    assert parent.split()[0] != child.split()[0]
    assert first == second == ("direct" if option else "refused")
