"""`limiar convert` when a C++ library ends the process: real processes and real aborts, at a step that the test chooses."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from limiar.convert.child import ToParent, in_child
from limiar.edge_app.bundle.open import open_bundle

# Runs `limiar convert` with the function `sys.argv[1]` of the child replaced: it ends the process when it is called
# with the word `sys.argv[2]`.
CRASHING = """
import os, signal, sys
from importlib import import_module
from limiar.convert import child
from limiar.edge_app.cli import main
from limiar.edge_app.system.stderr import captured_stderr

place, word, how = sys.argv[1:4]
real = child.in_child

def crashing(work):
    def begin(own):
        module, name = place.rsplit(".", 1)
        library = import_module(module)
        before = getattr(library, name)

        def replaced(*words, **options):
            if not word or word in [one for one in words if isinstance(one, str)]:
                with captured_stderr():
                    os.write(2, b"loc(a): note\\nF0000 Check failed: x > 0\\n")
                    os.kill(os.getpid(), int(how))
            return before(*words, **options)

        setattr(library, name, replaced)
        return work(own)

    return real(begin)

child.in_child = crashing
sys.argv[1:4] = ["convert"]
main()
"""


def convert(
    run: Path, out: Path, place: str, word: str, number: int, *words: str, scratch: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-c", CRASHING, place, word, str(int(number)), str(run), "--out", str(out), *words]
    environ = {**os.environ, "TMPDIR": str(scratch)} if scratch else None
    return subprocess.run(command, capture_output=True, text=True, timeout=500, env=environ)


def test_the_file_whose_making_aborts_is_left_out_by_name_and_the_rest_is_made(run: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = convert(
        run, tmp_path / "out", "limiar.convert.export.make.convert_tflite", "int16x8", signal.SIGABRT, "--json", scratch=scratch
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        "Warning: a library ended the process while making tflite_int16x8 (SIGABRT: F0000 Check failed: x > 0); "
        "converting again without tflite_int16x8"
    ]
    assert set(open_bundle(tmp_path / "out").manifest.models) == {
        *("tflite_fp32", "tflite_fp16", "tflite_dynamic", "tflite_int8", "onnx_fp32", "onnx_fp16", "onnx_int8")
    }
    left_out = next(file for file in json.loads(done.stdout)["files"] if file["name"] == "tflite_int16x8")
    assert left_out["verdict"] == "LEFT OUT"
    assert "E-CONVERT-CRASH: a library ended the process that made it (SIGABRT: F0000" in left_out["findings"][0]["message"]
    assert list(scratch.iterdir()) == []


def test_without_an_onnx_graph_all_onnx_files_are_left_out_at_once(run: Path, tmp_path: Path) -> None:
    done = convert(run, tmp_path / "out", "limiar.convert.export.make.onnx_model", "", signal.SIGSEGV)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("converting again") == 1
    assert {name for name in open_bundle(tmp_path / "out").manifest.models if name.startswith("onnx")} == set()


def test_a_crash_that_no_file_is_to_blame_for_is_one_line_that_names_the_step(run: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = convert(run, tmp_path / "out", "limiar.convert.pipeline.keras_logits", "", signal.SIGSEGV, scratch=scratch)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("E-CONVERT-CRASH: a library ended the process while running Keras (SIGSEGV: F0000")
    assert list(tmp_path.iterdir()) == [scratch]
    assert list(scratch.iterdir()) == []


def test_what_the_machine_kills_for_want_of_memory_leaves_no_file_out(run: Path, tmp_path: Path) -> None:
    done = convert(run, tmp_path / "out", "limiar.convert.export.make.convert_tflite", "int8", signal.SIGKILL)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("E-MACHINE-LIMIT: limiar convert was ended by SIGKILL while making tflite_int8")
    assert not (tmp_path / "out").exists()


ENDING = """
import atexit, os, sys
from limiar.convert.child import in_child

def work(child):
    child.at("converting", "tflite_fp32")
    atexit.register(os.abort)
    print("done")
    return 3

sys.exit(in_child(work))
"""


def test_a_library_that_aborts_while_it_is_unloaded_changes_neither_status_nor_words() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", ENDING], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (3, "done\n", "")


WAITING = """
import sys, time
from limiar.convert.child import in_child

def work(child):
    try:
        print("begun", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        raise
    return 0

try:
    in_child(work)
except KeyboardInterrupt:
    sys.exit(130)
"""


def usual() -> None:
    """Signals as a terminal's program finds them, whatever the tests are started by: nohup, or a shell in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_to_the_parent_alone_reaches_the_child_and_its_status_is_the_command_s(number: int, status: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", WAITING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=usual,
    )
    assert process.stdout
    assert process.stdout.readline() == b"begun\n"
    process.send_signal(number)
    assert process.communicate(timeout=60)[1] == b"limiar convert was stopped while starting\n"
    assert process.returncode == status


def test_ctrl_c_on_a_terminal_is_met_once() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        usual()
        os.execv(sys.executable, [sys.executable, "-P", "-c", WAITING])
    heard = b""
    while b"begun" not in heard:
        heard += os.read(terminal, 1000)
    os.write(terminal, b"\x03")
    with contextlib.suppress(OSError):  # EIO: nobody has the terminal open any more, and all has been read
        while True:
            heard += os.read(terminal, 1000)  # what the kernel has passed on so far: it need not be all
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert heard.count(b"interrupted") == 1


def test_a_parent_that_is_killed_takes_the_child_along() -> None:
    process = subprocess.Popen([sys.executable, "-P", "-c", WAITING], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    process.kill()
    process.wait(60)
    assert process.stdout.read() == b""  # ends when nobody has it open any more: a hang else
    process.stdout.close()


def test_a_process_that_has_tensorflow_does_the_work_itself() -> None:
    own = os.getpid()

    def work(child: ToParent) -> int:
        assert os.getpid() == own
        assert child.ended == {}
        return 7

    assert in_child(work) == 7


FAILING = """
from limiar.convert.child import in_child

def work(child):
    {}.missing

try:
    in_child(work)
except AttributeError as error:
    print(error.__notes__[0])
"""


def test_a_bug_in_the_child_is_raised_with_the_child_s_traceback() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", FAILING], capture_output=True, text=True, timeout=60)
    assert "in work\n" in done.stdout
    assert "AttributeError" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")


RAISING = """
from limiar.convert.child import in_child
from limiar.edge_app.errors import ConvertError

def work(child):
    import tblib.pickling_support
    tblib.pickling_support.install()  # as importing TensorFlow does where tblib is installed
    raise {}

try:
    in_child(work)
except ConvertError as error:
    print(error.code, error.message)
"""


@pytest.mark.parametrize(
    ("error", "status", "printed"),
    [
        ("SystemExit(143)", 143, ""),
        ("SystemExit(0)", 1, ""),
        ("SystemExit('no such license')", 1, ""),
        ("ConvertError('E-CONVERT-CRASH', 'it is gone')", 0, "E-CONVERT-CRASH it is gone\n"),
    ],
)
def test_an_error_comes_whole_to_the_parent_also_where_tblib_pickles_it(error: str, status: int, printed: str) -> None:
    done = subprocess.run([sys.executable, "-P", "-c", RAISING.format(error)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (status, printed), done.stderr
